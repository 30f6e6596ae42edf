package hostpb

import "crypto/sha256"

// Schema names the messages and fields that this build knows. A view that was read by a build of
// another schema may lack fields that were in the message.
func Schema() [8]byte {
	sum := sha256.Sum256([]byte(file_host_proto_rawDesc))
	return [8]byte(sum[:8])
}
