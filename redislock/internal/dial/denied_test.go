package dial

import (
	"testing"

	"github.com/golocker/locker/redislock/internal/resp"
	"github.com/redis/go-redis/v9"
)

// A replyError is an error reply, as go-redis returns it.
type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}

var _ redis.Error = replyError("")

// The servers word it differently when they deny something, and from 7.2 on they name the
// user, who may be called anything.
func TestWhatIsDenied(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		key  bool // or a channel
	}{
		{"NOPERM this user has no permissions to access one of the keys used as arguments", true},
		{"NOPERM No permissions to access a key", true},
		{"NOPERM this user has no permissions to run the 'mget' command or its subcommand", false},
		{"NOPERM this user has no permissions to run the 'mget' command", false},
		{"NOPERM User monkey has no permissions to run the 'mget' command", false},
		{"NOPERM User unknown has no permissions to run the 'mget' command", false},
	} {
		err := replyError(tt.text)
		if got := resp.IsKeyDenied(err); got != tt.key {
			t.Errorf("isKeyDenied(%q) = %v", tt.text, got)
		}
		if UnlessUnknown(err) == nil {
			t.Errorf("UnlessUnknown(%q) = nil: it counts as a command that the server does not know", tt.text)
		}
	}
}
