package model

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Instance is what the metadata service of a host tells a port's guest where no Nova answers for it.
// It is given on the port itself: by tags (InstanceTag…), or in the binding profile:
//
//	{"weft": {"hostname": "vm1", "ssh_keys": ["ssh-ed25519 …"], "user_data": "<base64>"}}
//
// Tags are anybody's who may tag the port, but hold 255 characters each; the profile is an
// administrator's. Where both speak, the profile has the word on the host name, and keys add up.
type Instance struct {
	Hostname string
	SSHKeys  []string // lines as in authorized_keys (sshd(8))
	UserData []byte
}

// Tags of a port that speak to its guest: the prefix, then the value.
const (
	InstanceTagHostname = "weft:hostname="
	InstanceTagSSHKey   = "weft:ssh-key=" // may be repeated
)

// Limits of an Instance. That of user data, before base64, is EC2's.
const (
	MaxUserData = 16 << 10
	MaxSSHKeys  = 16
	MaxSSHKey   = 4 << 10
)

// instanceProfile is the key "weft" of a binding profile.
type instanceProfile struct {
	Hostname string   `json:"hostname,omitempty"`
	SSHKeys  []string `json:"ssh_keys,omitempty"`
	UserData []byte   `json:"user_data,omitempty"` // base64 in JSON
}

// ProfileInstance reads an Instance from a binding profile, a JSON object. It returns what is left of
// the profile without it.
func ProfileInstance(profile json.RawMessage) (i Instance, rest json.RawMessage, err error) {
	var keys map[string]json.RawMessage
	if len(profile) == 0 || json.Unmarshal(profile, &keys) != nil || keys["weft"] == nil {
		return Instance{}, profile, nil
	}
	d := json.NewDecoder(bytes.NewReader(keys["weft"]))
	d.DisallowUnknownFields()
	var p instanceProfile
	if err := d.Decode(&p); err != nil {
		return Instance{}, nil, fmt.Errorf("its key \"weft\" is not {hostname, ssh_keys, user_data in base64}: %w", err)
	}
	i = Instance(p)
	delete(keys, "weft")
	rest, err = json.Marshal(keys)
	if err != nil {
		return Instance{}, nil, err
	}
	return i, rest, i.check()
}

// Instance is what the port's tags and profile say. What of it is malformed is left out.
func (p *Port) Instance() Instance {
	i, _, err := ProfileInstance(p.Binding.Profile)
	if err != nil {
		i = Instance{}
	}
	for _, tag := range p.Tags {
		if name, ok := strings.CutPrefix(tag, InstanceTagHostname); ok && i.Hostname == "" && ValidHostname(name) {
			i.Hostname = name
		}
		if key, ok := strings.CutPrefix(tag, InstanceTagSSHKey); ok && validSSHKey(key) && !slices.Contains(i.SSHKeys, key) && len(i.SSHKeys) < MaxSSHKeys {
			i.SSHKeys = append(i.SSHKeys, key)
		}
	}
	return i
}

// IsZero reports whether nothing is said.
func (i *Instance) IsZero() bool {
	return i.Hostname == "" && len(i.SSHKeys) == 0 && len(i.UserData) == 0
}

// Profile is the binding profile that says the same.
func (i Instance) Profile() (json.RawMessage, error) {
	if err := i.check(); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]instanceProfile{"weft": instanceProfile(i)})
}

func (i *Instance) check() error {
	switch {
	case i.Hostname != "" && !ValidHostname(i.Hostname):
		return fmt.Errorf("host name %q: want letters, digits, dashes and dots (RFC 1123)", i.Hostname)
	case len(i.SSHKeys) > MaxSSHKeys:
		return fmt.Errorf("%d ssh keys: at most %d", len(i.SSHKeys), MaxSSHKeys)
	case len(i.UserData) > MaxUserData:
		return fmt.Errorf("user data of %d bytes: at most %d", len(i.UserData), MaxUserData)
	}
	for n, key := range i.SSHKeys {
		if !validSSHKey(key) {
			return fmt.Errorf("ssh key %d is not a line as in authorized_keys: type and base64 key", n+1)
		}
	}
	return nil
}

// ValidHostname accepts a name of one or several labels, with or without a final dot (RFC 1123, section 2.1).
func ValidHostname(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		bad := label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-')
		})
		if bad {
			return false
		}
	}
	return true
}

// validSSHKey accepts one line "type base64 [comment]", without options before it.
func validSSHKey(s string) bool {
	if len(s) > MaxSSHKey || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return false
	}
	parts := strings.Fields(s)
	if len(parts) < 2 {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(parts[1])
	// The key begins with its own type, as a string with its length (RFC 4253, section 6.6).
	return err == nil && len(key) > 4+len(parts[0]) && string(key[4:4+len(parts[0])]) == parts[0]
}
