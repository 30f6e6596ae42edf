package model

import (
	"encoding/json"
	"strings"
	"testing"
)

// ed25519Key is an ssh key whose blob begins with its type.
const ed25519Key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA me@laptop"

func TestInstance_isReadFromTagsAndProfile(t *testing.T) {
	p := &Port{Binding: Binding{Profile: json.RawMessage(`{"other":1,"weft":{"hostname":"web1","ssh_keys":["` + ed25519Key + `"],"user_data":"aGVsbG8="}}`)}}
	p.Tags = []string{"weft:hostname=other", "weft:ssh-key=" + ed25519Key + "2", "weft:ssh-key=" + ed25519Key, "weft:ssh-key=rubbish", "weft:unknown=x", "blue"}
	i := p.Instance()
	if i.Hostname != "web1" || len(i.SSHKeys) != 2 || string(i.UserData) != "hello" {
		t.Errorf("%+v", i)
	}
	p.Binding.Profile = json.RawMessage(`{"weft":{"hostname":"-"}}`) // can only come from an older journal
	if i := p.Instance(); i.Hostname != "other" || len(i.SSHKeys) != 2 {
		t.Errorf("%+v", i)
	}
	if i := (&Port{}).Instance(); !i.IsZero() {
		t.Errorf("%+v", i)
	}
	said := Instance{Hostname: "web1", SSHKeys: []string{ed25519Key}, UserData: []byte{0, 255}}
	profile, err := said.Profile()
	if err != nil {
		t.Fatal(err)
	}
	back, rest, err := ProfileInstance(profile)
	if err != nil || back.Hostname != "web1" || len(back.SSHKeys) != 1 || string(back.UserData) != "\x00\xff" || string(rest) != "{}" {
		t.Errorf("%+v, rest %s, %v", back, rest, err)
	}
}

func TestProfileInstance_refusesWhatItCannotHonour(t *testing.T) {
	for _, bad := range []string{
		`{"weft":1}`, `{"weft":{"hostname":1}}`, `{"weft":{"hostname":"a_b"}}`, `{"weft":{"hostname":"` + strings.Repeat("a", 64) + `"}}`, `{"weft":{"nonsense":1}}`,
		`{"weft":{"ssh_keys":["ssh-ed25519"]}}`, `{"weft":{"ssh_keys":["ssh-rsa AAAAC3NzaC1lZDI1NTE5"]}}`, `{"weft":{"ssh_keys":["a\nb"]}}`, `{"weft":{"user_data":"not base64!"}}`,
		`{"weft":{"user_data":"` + strings.Repeat("AAAA", MaxUserData/3+1) + `"}}`, `{"weft":{"ssh_keys":[` + strings.TrimSuffix(strings.Repeat(`"`+ed25519Key+`",`, MaxSSHKeys+1), ",") + `]}}`,
	} {
		if _, _, err := ProfileInstance(json.RawMessage(bad)); err == nil {
			t.Errorf("%.80s is taken", bad)
		}
	}
	for _, good := range []string{``, `{}`, `{"weft":null}`, `{"weft":{}}`, `{"other":{"hostname":"_"}}`} {
		if i, _, err := ProfileInstance(json.RawMessage(good)); err != nil || !i.IsZero() {
			t.Errorf("%s: %+v %v", good, i, err)
		}
	}
}
