package link

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of SIOCETHTOOL (linux/ethtool.h) that x/sys does not name.
const (
	ethtoolGetTxCsum = 0x16
	ethtoolSetTxCsum = 0x17
)

// DisableTxOffload has the device's own sender fill in checksums and cut
// segments, like `ethtool -K dev tx off`. Where a userspace switch reads the
// frames of a veth, the sender's end needs it: nothing behind it would do so,
// and TCP would never connect.
func (n *Namespace) DisableTxOffload(dev string) error {
	err := n.Do(func() error {
		on, err := ethtool(dev, ethtoolGetTxCsum, 0)
		if err != nil || on == 0 {
			return err
		}
		_, err = ethtool(dev, ethtoolSetTxCsum, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("switching off transmit offload of %s: %w", dev, err)
	}
	return nil
}

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct{ cmd, data uint32 }

// ethtoolIfreq is struct ifreq with its pointer member, of full size.
type ethtoolIfreq struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

func ethtool(dev string, cmd, value uint32) (uint32, error) {
	if len(dev) >= unix.IFNAMSIZ {
		return 0, unix.EINVAL
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	v := &ethtoolValue{cmd: cmd, data: value}
	req := ethtoolIfreq{data: unsafe.Pointer(v)}
	copy(req.name[:], dev)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	runtime.KeepAlive(v)
	if errno != 0 {
		return 0, errno
	}
	return v.data, nil
}
