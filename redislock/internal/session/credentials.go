package session

import (
	"github.com/redis/go-redis/v9/auth"

	"github.com/golocker/locker/redislock/internal/resp"
)

// A server may cut a connection when the token is over with which it was authenticated. A
// session whose client has a StreamingCredentialsProvider authenticates again, each time
// that there is a new one. With RESP2, a connection with subscriptions cannot: its locks
// are lost then.

// A renewer authenticates the connection of a session again.
type renewer struct{ session *session }

// OnNext implements auth.CredentialsListener.
func (r *renewer) OnNext(c auth.Credentials) {
	s := r.session
	if !s.fast {
		return
	}
	username, password := c.BasicAuth()
	if username == "" {
		username = "default"
	}
	s.command(func(_ string, err error) {
		if resp.Code(err) != "" {
			s.env.Log.Warn("redis session not authenticated again: it may be cut when its token is over", "session", s.id, "error", resp.Plainly(err))
		}
	}, "AUTH", username, password)
}

// OnError implements auth.CredentialsListener.
func (r *renewer) OnError(err error) {
	r.session.env.Log.Warn("no new credentials for the redis session", "session", r.session.id, "error", err)
}

// renewCredentials has the session authenticate again when there are new credentials.
func (s *session) renewCredentials() error {
	p := s.server.User.StreamingCredentialsProvider
	if p == nil {
		return nil
	}
	now, stop, err := p.Subscribe(&renewer{s})
	if err != nil {
		return err
	}
	if stop != nil {
		s.env.Running.Go(func() {
			<-s.done
			_ = stop()
		})
	}
	(&renewer{s}).OnNext(now) // perhaps there are newer ones since the connection was made
	return nil
}
