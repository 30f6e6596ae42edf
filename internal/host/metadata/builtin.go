package metadata

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/internal/host/standin"
	"weft/internal/model"
)

// Versions that are answered, as Nova lists them. Their content is the same.
var (
	openstackVersions = []string{"2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27", "2020-10-14", "latest"}
	ec2Versions       = []string{"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04", "latest"}
)

// builtin answers from the view.
func (s *Server) builtin(w http.ResponseWriter, r *http.Request, g standin.Guest) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed)
		return
	}
	m := machine{guest: g, domain: strings.TrimSuffix(s.cfg.Domain(), "."), ports: s.cfg.Siblings(g)}
	body, kind, ok := m.find(r.URL.Path)
	if !ok {
		fail(w, http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.Write(body)
}

// Content types.
const (
	plain      = "text/plain; charset=utf-8"
	jsonType   = "application/json"
	octetsType = "application/octet-stream"
)

// machine is the guest that is asked about.
type machine struct {
	guest  standin.Guest
	domain string
	ports  []standin.Guest // of the same machine on this host, this one included
}

// find returns what is at a path.
func (m *machine) find(path string) (body []byte, kind string, ok bool) {
	if len(path) > 1024 {
		return nil, "", false
	}
	var parts []string
	for p := range strings.SplitSeq(path, "/") {
		if p != "" {
			parts = append(parts, p)
		}
	}
	switch {
	case len(parts) == 0:
		return lines(append(slices.Clone(ec2Versions), "openstack")), plain, true
	case parts[0] == "openstack":
		return m.openstack(parts[1:])
	case slices.Contains(ec2Versions, parts[0]):
		return m.ec2(parts[1:])
	}
	return nil, "", false
}

func lines(list []string) []byte { return []byte(strings.Join(list, "\n")) }

// uuid is Nova's id of the instance, or the port's when the port is of none.
func (m *machine) uuid() string { return cmp.Or(m.guest.Port.DeviceID, m.guest.Port.ID.String()) }

// hostname is the name that the guest shall have: what is said of the instance, the port's DNS name, or one
// made of the address as Neutron does.
func (m *machine) hostname() (short, full string) {
	p := m.guest.Port
	name := cmp.Or(p.Instance.Hostname, p.DNSName)
	if name == "" {
		a := m.guest.Addr
		for _, f := range p.FixedIPs { // the link-local address that asked is no name
			if !a.IsValid() || a.IsLinkLocalUnicast() {
				a = f.Addr
			}
		}
		name = "host-" + strings.NewReplacer(".", "-", ":", "-").Replace(a.Unmap().String())
	}
	name = strings.TrimSuffix(name, ".")
	short, _, dotted := strings.Cut(name, ".")
	if dotted {
		return short, name
	}
	domain := strings.TrimSuffix(cmp.Or(p.DNSDomain, m.guest.Network.DNSDomain, m.domain), ".")
	if domain == "" {
		return short, short
	}
	return short, short + "." + domain
}

// keyName is the name of the n-th ssh key.
func keyName(n int) string {
	if n == 0 {
		return "default"
	}
	return "key" + strconv.Itoa(n)
}

// openstack answers below /openstack (Nova, "Metadata service, OpenStack format").
func (m *machine) openstack(parts []string) ([]byte, string, bool) {
	if len(parts) == 0 {
		return lines(openstackVersions), plain, true
	}
	if !slices.Contains(openstackVersions, parts[0]) {
		return nil, "", false
	}
	userData := m.guest.Port.Instance.UserData
	if len(parts) == 1 {
		files := []string{"meta_data.json", "network_data.json", "vendor_data.json", "vendor_data2.json"}
		if len(userData) > 0 {
			files = append(files, "user_data")
		}
		return lines(files), plain, true
	}
	if len(parts) > 2 {
		return nil, "", false
	}
	switch parts[1] {
	case "meta_data.json":
		return encode(m.metaData())
	case "network_data.json":
		return encode(m.networkData())
	case "vendor_data.json":
		return encode(struct{}{})
	case "vendor_data2.json":
		return encode(map[string]struct{}{"static": {}})
	case "user_data":
		return userData, octetsType, len(userData) > 0
	}
	return nil, "", false
}

func encode(v any) ([]byte, string, bool) {
	b, err := json.Marshal(v)
	return b, jsonType, err == nil
}

// key is an ssh key in meta_data.json.
type key struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Data string `json:"data"`
}

// metaData is meta_data.json.
func (m *machine) metaData() any {
	short, full := m.hostname()
	out := struct {
		UUID        string            `json:"uuid"`
		Name        string            `json:"name"`
		Hostname    string            `json:"hostname"`
		ProjectID   string            `json:"project_id"`
		Zone        string            `json:"availability_zone"`
		LaunchIndex int               `json:"launch_index"`
		Meta        struct{}          `json:"meta"`
		Devices     []struct{}        `json:"devices"`
		PublicKeys  map[string]string `json:"public_keys,omitempty"`
		Keys        []key             `json:"keys,omitempty"`
	}{UUID: m.uuid(), Name: short, Hostname: full, ProjectID: m.guest.Port.ProjectID, Zone: zone, Devices: []struct{}{}}
	for n, k := range m.guest.Port.Instance.SSHKeys {
		if out.PublicKeys == nil {
			out.PublicKeys = map[string]string{}
		}
		out.PublicKeys[keyName(n)] = k + "\n"
		out.Keys = append(out.Keys, key{keyName(n), "ssh", k + "\n"})
	}
	return out
}

// zone is Nova's default.
const zone = "nova"

// ec2 answers below a version (EC2, "Instance metadata categories"; what Nova has of them).
func (m *machine) ec2(parts []string) ([]byte, string, bool) {
	userData := m.guest.Port.Instance.UserData
	if len(parts) == 0 {
		top := []string{"meta-data/"}
		if len(userData) > 0 {
			top = append(top, "user-data")
		}
		return lines(top), plain, true
	}
	if parts[0] == "user-data" && len(parts) == 1 {
		return userData, octetsType, len(userData) > 0
	}
	if parts[0] != "meta-data" {
		return nil, "", false
	}
	var at any = m.metaDataEC2()
	for _, p := range parts[1:] {
		d, isDir := at.(dir)
		if !isDir {
			return nil, "", false
		}
		e, found := d[p]
		if !found {
			return nil, "", false
		}
		at = e
	}
	switch at := at.(type) {
	case dir:
		return lines(at.list()), plain, true
	case string:
		return []byte(at), plain, true
	}
	return nil, "", false
}

// dir is a directory of EC2's tree: strings, and further ones.
type dir map[string]any

// list names the entries, directories with a slash. Keys are listed by number and name.
func (d dir) list() []string {
	var out []string
	for name, e := range d {
		if sub, isDir := e.(dir); isDir {
			if label, isKey := sub[keyLabel].(string); isKey {
				name += "=" + label
			} else {
				name += "/"
			}
		}
		if name != keyLabel {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// keyLabel is where a directory of a key has the key's name; no path leads to it.
const keyLabel = "\x00"

func (m *machine) metaDataEC2() dir {
	_, full := m.hostname()
	v4 := ""
	for _, f := range m.guest.Port.FixedIPs {
		if a := f.Addr.Unmap(); a.Is4() && v4 == "" {
			v4 = a.String()
		}
	}
	if m.guest.Addr.Is4() {
		v4 = m.guest.Addr.String()
	}
	d := dir{
		"ami-id": "ami-00000000", "ami-launch-index": "0", "instance-action": "none", "instance-type": "weft",
		"reservation-id": "r-" + ec2ID(m.uuid()), "instance-id": "i-" + ec2ID(m.uuid()),
		"hostname": full, "local-hostname": full, "public-hostname": full, "local-ipv4": v4, "public-ipv4": "", "mac": m.guest.Port.MAC.String(),
		"placement": dir{"availability-zone": zone}, "security-groups": "",
	}
	if keys := m.guest.Port.Instance.SSHKeys; len(keys) > 0 {
		all := dir{}
		for n, k := range keys {
			all[strconv.Itoa(n)] = dir{"openssh-key": k + "\n", keyLabel: keyName(n)}
		}
		d["public-keys"] = all
	}
	return d
}

// ec2ID is eight hexadecimal digits, as EC2's ids have them, of an instance's UUID; another id is itself.
func ec2ID(uuid string) string {
	if id, err := model.ParseUUID(uuid); err == nil {
		return id.String()[:8]
	}
	return uuid
}

// addrOf is an address's text, empty when there is none.
func addrOf(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}
