// Package dns answers guests' questions for names: those of their own network from the view, all others by
// asking servers outside.
//
// Who asks is what the other end's address stands for (package standin), so that each network has its own
// names. A question for a name that only the cloud can know never leaves the host: single labels, names
// below the cloud's domain, and addresses of the network's subnets backwards. Other questions go out of
// the host's own namespace, from a random port and with a random id, to the servers of the guest's subnet or
// to those of the host; nobody but guests is answered, and no server inside the cloud or on the host is asked.
package dns
