package dial

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// NewClient returns a client whose errors name the permission that is missing.
func NewClient(o *redis.Options) *redis.Client {
	c := redis.NewClient(o)
	c.AddHook(subcommandNamer{})
	return c
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

// CloneOptions returns the options of a client for a client of our own.
func CloneOptions(user *redis.Options) *redis.Options {
	o := *user
	// NewClient has put defaults in the place of zeros, and zeros in that of -1.
	for _, d := range []*time.Duration{&o.ReadTimeout, &o.WriteTimeout, &o.MinRetryBackoff, &o.MaxRetryBackoff} {
		switch *d {
		case 0:
			*d = -1
		case -1:
			*d = -2
		}
	}
	if o.MaxRetries == 0 {
		o.MaxRetries = -1
	}
	o.ContextTimeoutEnabled = true
	o.MinIdleConns = 0
	o.Limiter = nil
	o.PushNotificationProcessor = nil
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.ClientSideCacheConfig, o.ClientSideCache = nil, nil
	if p := o.StreamingCredentialsProvider; p != nil {
		// go-redis would authenticate again on a connection that is ours.
		o.StreamingCredentialsProvider = nil
		o.CredentialsProviderContext = func(context.Context) (string, string, error) { return credentials(p) }
	}
	return &o
}

func credentials(p auth.StreamingCredentialsProvider) (string, string, error) {
	c, stop, err := p.Subscribe(noListener{})
	if err != nil {
		return "", "", err
	}
	if stop != nil {
		err = stop()
	}
	username, password := c.BasicAuth()
	return username, password, err
}

// A noListener does not listen.
type noListener struct{}

func (noListener) OnNext(auth.Credentials) {}
func (noListener) OnError(error)           {}
