// Package client speaks the Networking API v2.0 as a client: create, get, list, update, delete, tags.
//
// An object is what the server sent, attribute by attribute, so that an attribute which this
// program does not know is still shown. Which resources and attributes there are is the
// caller's business; this package knows paths, paging, names and errors.
// It keeps no state but its options, and retries nothing.
// Called by the commands of package cli and by whatever else is a client of a Weft server.
package client
