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
		return fmt.Errorf("encoding the last view: %w", err)
	}
	b := append([]byte{}, lastViewMagic...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	b = append(b, body...)
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
