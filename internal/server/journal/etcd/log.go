package etcd

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logCore hands what etcd logs at Warn and above on to slog. While etcd is
// being closed it says nothing: a normal close makes etcd log errors about its own
// listeners.
type logCore struct {
	log     *slog.Logger
	closing *atomic.Bool
}

// ofEveryStart are messages that etcd logs at Warn or above whenever a healthy
// server of ours starts: it says what we chose, or has not written its first entry yet.
func ofEveryStart(message string) bool {
	switch message {
	case "Running http and grpc server on single port. This is not recommended for production.",
		"simple token is not cryptographically signed",
		"Failed to detect schema version",
		"failed to update storage version":
		return true
	}
	// Said by a member that is alone when its clock ticks before it has read its own first entry. It campaigns at the next tick.
	return strings.HasSuffix(message, " cannot campaign at term 1 since there are still pending configuration changes to apply")
}

func newLogCore(log *slog.Logger) *logCore {
	return &logCore{log: log.With("from", "etcd"), closing: new(atomic.Bool)}
}

func newZap(core *logCore) *zap.Logger { return zap.New(core) }

// Enabled implements zapcore.Core.
func (c *logCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

// With implements zapcore.Core.
func (c *logCore) With(fields []zapcore.Field) zapcore.Core {
	return &logCore{log: slog.New(c.log.Handler().WithAttrs(attrs(fields))), closing: c.closing}
}

// Check implements zapcore.Core.
func (c *logCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return to.AddCore(e, c)
	}
	return to
}

// Write implements zapcore.Core.
func (c *logCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if (c.closing.Load() || ofEveryStart(e.Message)) && e.Level < zapcore.DPanicLevel {
		return nil
	}
	level := slog.LevelError
	if e.Level == zapcore.WarnLevel {
		level = slog.LevelWarn
	}
	c.log.LogAttrs(context.Background(), level, e.Message, attrs(fields)...)
	return nil
}

// Sync implements zapcore.Core.
func (c *logCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	values := zapcore.NewMapObjectEncoder()
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		f.AddTo(values)
		if v, ok := values.Fields[f.Key]; ok {
			out = append(out, slog.Any(f.Key, v))
		}
	}
	return out
}
