package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticks a second, in which /proc counts CPU time (USER_HZ of every Linux that Go runs on).
const ticks = 100

// cpuTime is the CPU time that a process has used (proc_pid_stat(5), fields 14 and 15).
func cpuTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	user, err1 := strconv.Atoi(f[11])
	kernel, err2 := strconv.Atoi(f[12])
	return time.Duration(user+kernel) * time.Second / ticks, errors.Join(err1, err2)
}

// childTime is the CPU time of the children that a process has waited for (fields 16 and 17).
func childTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 15 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	user, err1 := strconv.Atoi(f[13])
	kernel, err2 := strconv.Atoi(f[14])
	return time.Duration(user+kernel) * time.Second / ticks, errors.Join(err1, err2)
}

// memory is what of a process is resident, in MiB (proc_pid_status(5)): VmRSS now and VmHWM at most; RssAnon of it is its own,
// RssFile is pages of files, which it shares with whoever else runs the same program.
type memory struct{ now, most, anon, file float64 }

func memoryOf(pid int) (m memory, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	fields := map[string]*float64{"VmRSS:": &m.now, "VmHWM:": &m.most, "RssAnon:": &m.anon, "RssFile:": &m.file}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if into := fields[f[0]]; into != nil {
			kib, _ := strconv.ParseFloat(f[1], 64)
			*into = kib / 1024
		}
	}
	return m, nil
}

// parseMetrics reads the Prometheus text format: name with labels -> value.
func parseMetrics(text string) map[string]float64 {
	out := map[string]float64{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if v, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
			out[line[:i]] = v
		}
	}
	return out
}
