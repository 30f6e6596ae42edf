package link

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Send puts whole Ethernet frames on a device's wire, as if its owner sent them.
func (n *Namespace) Send(dev string, frames ...[]byte) error {
	l, err := n.byName(dev)
	if err != nil {
		return err
	}
	err = n.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var errs []error
		for _, f := range frames {
			errs = append(errs, unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("sending from %s: %w", dev, err)
	}
	return nil
}
