// Package neutron is the v2.0 dialect: it turns HTTP requests into calls of
// the rules and objects of the store into JSON, the way Neutron's clients know
// it (OpenStack Networking API v2.0 reference).
//
// It holds no rules: what may be created, changed or deleted is decided in
// server/network, who may do it in server/policy. Here are routing, strict
// decoding, filters, sorting, paging, fields, tags, If-Match, bulk requests,
// error bodies and the list of extensions, all driven by one declaration per
// resource: network.go, subnet.go, port.go, securitygroup.go, … A further
// resource is a further declaration.
//
// cmd builds the API with New and serves it; nothing else imports it.
package neutron
