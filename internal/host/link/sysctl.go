package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"weft/internal/fault"
)

// Sysctl reads a setting of the namespace. The key is the path under /proc/sys,
// with slashes ("net/ipv6/conf/eth0.5/disable_ipv6"), since names of devices
// have dots in them. The error is of kind fault.NotFound when this kernel has
// no such setting.
func (n *Namespace) Sysctl(key string) (string, error) {
	var value string
	err := n.Do(func() (err error) {
		value, err = readSysctl(key)
		return err
	})
	return value, sysctlError("reading", key, err)
}

// SetSysctl writes a setting of the namespace, when it has another value.
func (n *Namespace) SetSysctl(key, value string) error {
	_, err := n.ChangeSysctl(key, value)
	return err
}

// ChangeSysctl is SetSysctl and tells whether it had to write.
func (n *Namespace) ChangeSysctl(key, value string) (changed bool, err error) {
	err = n.Do(func() error {
		if is, err := readSysctl(key); err != nil || is == value {
			return err
		}
		changed = true
		return os.WriteFile(sysctlPath(key), []byte(value), 0)
	})
	return changed, sysctlError("writing", key, err)
}

// TrySysctls writes settings and passes over those that this kernel does not
// have: what is not there cannot get in the way.
func (n *Namespace) TrySysctls(value string, keys ...string) error {
	for _, key := range keys {
		if err := n.SetSysctl(key, value); err != nil && fault.Of(err) != fault.NotFound {
			return err
		}
	}
	return nil
}

// DisableIPv6 keeps the kernel from having IPv6 addresses on devices: those that
// only carry a guest's frames must not speak themselves.
func (n *Namespace) DisableIPv6(devs ...string) error {
	for _, dev := range devs {
		if err := n.TrySysctls("1", "net/ipv6/conf/"+dev+"/disable_ipv6"); err != nil {
			return err
		}
	}
	return nil
}

func sysctlPath(key string) string { return filepath.Join("/proc/sys", key) }

func readSysctl(key string) (string, error) {
	b, err := os.ReadFile(sysctlPath(key))
	return strings.TrimSpace(string(b)), err
}

func sysctlError(doing, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.NotFound, "SysctlNotFound", "no sysctl %s", key).Because(err)
	}
	return fmt.Errorf("%s sysctl %s: %w", doing, key, err)
}
