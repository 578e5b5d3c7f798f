package redislock

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// isKeyDenied reports whether an ACL denies a key, in the words of any version: "this user
// has no permissions to access one of the keys", "No permissions to access a key".
func isKeyDenied(err error) bool {
	return redis.HasErrorPrefix(err, "NOPERM") && strings.Contains(err.Error(), "permissions to access ")
}

// A subcommandNamer is a hook by which an error names the permission that is missing:
// Redis 6.2 names the command without its subcommand.
type subcommandNamer struct{}

func (subcommandNamer) DialHook(next redis.DialHook) redis.DialHook { return next }

func (subcommandNamer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (subcommandNamer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if !redis.HasErrorPrefix(err, "NOPERM") {
			return err
		}
		switch cmd.Name() {
		case "client", "pubsub", "cluster":
			name := strings.ToLower(fmt.Sprintf("'%v|%v'", cmd.Args()[0], cmd.Args()[1]))
			if !strings.Contains(err.Error(), name) {
				return fmt.Errorf("%w (%s)", err, name)
			}
		}
		return err
	}
}
