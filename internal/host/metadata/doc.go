// Package metadata answers guests at 169.254.169.254 and fe80::a9fe:a9fe, for the ports of one host.
//
// Who asks is what the other end's address stands for (package standin): the port that the packets came
// from. It is asked for anew with each request, and nothing in a request has a say in it.
//
// With an Upstream, requests go on to Nova's metadata service in the form of Neutron's proxy, signed.
// Without one, the package answers by itself, in the formats of OpenStack and EC2, what the view says of
// the port: enough for cloud-init to set a guest up.
package metadata
