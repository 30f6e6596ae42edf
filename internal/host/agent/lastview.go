package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"weft/api/hostpb"
	"weft/internal/model"
)

// The last view on disk: magic, CRC-32C of what follows, hostpb.Schema of the agent that wrote it, and
// a hostpb.Complete. It is a copy of what the server said, so that losing it is harmless; a damaged one
// counts as none. The session is resumed from it when the same schema wrote it; an agent that knows more fields
// has to be sent them. The first format has no schema: it is still read.
const (
	lastViewMagic  = "weftview2"
	firstViewMagic = "weftview1"
)

var errDamaged = errors.New("the last view on disk is damaged")

// saveView replaces the file by the view, as a whole.
func saveView(path string, v *model.HostView, settings *hostpb.Settings) error {
	b, err := encodeView(v, settings)
	if err != nil {
		return err
	}
	return writeView(path, b)
}

// encodeView returns the file of a view.
func encodeView(v *model.HostView, settings *hostpb.Settings) ([]byte, error) {
	d := &model.ViewDelta{}
	for _, o := range v.Networks {
		d.Networks = append(d.Networks, o)
	}
	for _, o := range v.Ports {
		d.Ports = append(d.Ports, o)
	}
	for _, o := range v.Peers {
		d.Peers = append(d.Peers, o)
	}
	for _, o := range v.Groups {
		d.Groups = append(d.Groups, o)
	}
	for _, o := range v.Members {
		d.Members = append(d.Members, o)
	}
	for _, o := range v.Routers {
		d.Routers = append(d.Routers, o)
	}
	for _, o := range v.Floating {
		d.Floating = append(d.Floating, o)
	}
	schema := hostpb.Schema()
	body, err := proto.MarshalOptions{}.MarshalAppend(schema[:], &hostpb.Complete{Revision: v.Revision, Objects: hostpb.ToObjects(d), Settings: settings, History: v.History[:]})
	if err != nil {
		return nil, fmt.Errorf("encoding the last view: %w", err)
	}
	b := append([]byte{}, lastViewMagic...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return append(b, body...), nil
}

func writeView(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".view-*")
	if err != nil {
		return fmt.Errorf("writing the last view: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing the last view: %w", err)
	}
	return nil
}

// need is how soon a change has to be on disk.
type need uint8

const (
	needSoon    need = iota // within saveDelay: what a crash loses, the next session brings again
	needTold                // before the server is told that it is in force: a rule that went must not come back
	needFilters             // before it is in force: no port that has filters may be missing after a crash, so that none are taken away
)

// needOf returns how soon a delta has to be on disk.
func needOf(d *model.ViewDelta) need {
	n := needSoon
	if len(d.Groups) > 0 {
		n = needTold
	}
	if len(d.Ports)+len(d.Networks)+len(d.Routers) > 0 {
		n = needFilters
	}
	for _, k := range d.Deletes {
		switch k.Kind {
		case model.KindPeer, model.KindMember:
		case model.KindGroup:
			n = max(n, needTold)
		default:
			n = needFilters
		}
	}
	return n
}

// save begins to write the view to disk, if it has changed; kept waits for the end. The loop goes on meanwhile.
func (a *Agent) save() {
	if !a.unsaved || a.view == nil {
		return
	}
	a.kept()
	b, err := encodeView(a.view, a.settings)
	if err != nil {
		a.log.Error("last view not saved: a restart without a server would start from an older one", "err", err)
		return
	}
	a.unsaved, a.moved = false, false
	done, path := make(chan error, 1), a.lastViewPath()
	go func() { done <- writeView(path, b) }()
	a.saving = done
}

// kept returns when what save began is on disk.
func (a *Agent) kept() {
	if a.saving != nil {
		a.saved(<-a.saving)
	}
}

// saved takes note of how the write ended that save began.
func (a *Agent) saved(err error) {
	a.saving = nil
	if err != nil {
		a.log.Error("last view not saved: a restart without a server would start from an older one", "err", err)
		a.unsaved = true
	}
}

// LoadView returns the view that an agent on this host keeps at path ("view.pb" in its state directory): what it
// last heard from a server. The error is os.ErrNotExist when there is none.
func LoadView(path, host string) (*model.HostView, error) {
	v, _, err := loadView(path, host)
	return v, err
}

// loadView reads the file; os.ErrNotExist when there is none, errDamaged when it cannot be trusted.
func loadView(path, host string) (*model.HostView, *hostpb.Settings, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	n := len(lastViewMagic)
	if len(b) < n+4 || string(b[:n]) != lastViewMagic && string(b[:n]) != firstViewMagic {
		return nil, nil, errDamaged
	}
	body := b[n+4:]
	if binary.BigEndian.Uint32(b[n:]) != crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) {
		return nil, nil, errDamaged
	}
	schema, same := hostpb.Schema(), false
	if string(b[:n]) == lastViewMagic {
		if len(body) < len(schema) {
			return nil, nil, errDamaged
		}
		same = [8]byte(body) == schema
		body = body[len(schema):]
	}
	var c hostpb.Complete
	if err := proto.Unmarshal(body, &c); err != nil {
		return nil, nil, errDamaged
	}
	d, problems := hostpb.FromObjects(c.GetObjects())
	if len(problems) > 0 {
		return nil, nil, errors.Join(errDamaged, problems[0])
	}
	v := model.NewHostView(host)
	d.To = c.GetRevision()
	v.Apply(d)
	if same && len(c.GetHistory()) == len(v.History) {
		copy(v.History[:], c.GetHistory())
	}
	return v, c.GetSettings(), nil
}
