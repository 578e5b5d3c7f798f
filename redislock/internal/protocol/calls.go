package protocol

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/golocker/locker/redislock/internal/resp"
)

// Each script, what it is called with, and what it answers. What that means is said at the
// beginning of the script.

// Claim calls lua/claim.lua: is the session alone on the channel of the lock?
type Claim struct {
	Channel, SID string
	Mode         ClaimMode
	Reserve      int    // how many tokens, besides the one
	Run          string // the id of the server's run
	About        About
	Settle       time.Duration // after a session that is gone
	SettleLong   time.Duration // after one whose server is gone, too, and that has not said for how long
	Known        string        // the session that has answered that it holds the lock, Foreign if somebody else has, or ""
}

// A ClaimMode is what is to come of a claim of a lock that is held.
type ClaimMode string

// The modes of a claim.
const (
	ClaimOnce    ClaimMode = "once"    // nothing
	ClaimQueue   ClaimMode = "queue"   // a place in the queue
	ClaimStandBy ClaimMode = "standby" // the first in it stands by
	ClaimAgain   ClaimMode = "again"   // the session has stood by until now
)

// Foreign stands for somebody that is not a session.
const Foreign = "foreign"

// In returns the call.
func (c Claim) In(s Scheme) Call { return c.by(claimScript, s) }

func (c Claim) by(sc *script, s Scheme) Call {
	return s.call(sc, c.Channel, c.SID, string(c.Mode), strconv.Itoa(c.Reserve), c.Run, string(c.About), expiry,
		microseconds(c.Settle), microseconds(c.SettleLong), c.Known)
}

// A ClaimAnswer is what a claim is answered.
type ClaimAnswer struct {
	Outcome Outcome
	Won     Won           // with OutcomeWon
	Place   int           // with OutcomeHeld: in the queue, from 1; 0: none
	Left    time.Duration // with OutcomeHeld: for how long the lock is left to portalocker
}

// An Outcome is what a claim has come to.
type Outcome int

// The outcomes of a claim.
const (
	OutcomeWon       Outcome = iota + 1
	OutcomeHeld              // by another, or it is another's turn
	OutcomeStandsBy          // held by another; the session stands by
	OutcomeGiven             // it has stood by, and was given the lock meanwhile
	OutcomeFirst             // of claims that meet: it is to try again
	OutcomeNoChannel         // the server does not know that the session is on the channel
)

// ParseClaim parses the answer to a claim.
func ParseClaim(text string) (a ClaimAnswer, err error) {
	switch {
	case strings.HasPrefix(text, messageWon):
		a.Outcome = OutcomeWon
		a.Won, err = parseWon(text)
	case text == "held 1 standby":
		a = ClaimAnswer{Outcome: OutcomeStandsBy, Place: 1}
	case text == "given":
		a.Outcome = OutcomeGiven
	case text == "first":
		a.Outcome = OutcomeFirst
	case text == "notyet":
		a.Outcome = OutcomeNoChannel
	default:
		var l LookAnswer
		l, err = parseHeld(text)
		a = ClaimAnswer{Outcome: OutcomeHeld, Place: l.Place, Left: l.Left}
	}
	return a, err
}

// A Won is a lock that a session has won, or was given.
type Won struct {
	Token   uint64
	Waiting bool          // others do
	Settle  time.Duration // until then the holder before may not know of its loss
}

// parseWon parses "won TOKEN WAITING SETTLE".
func parseWon(text string) (w Won, err error) {
	tokenText, rest, more := strings.Cut(strings.TrimPrefix(text, messageWon), " ")
	queued, settleText, all := strings.Cut(rest, " ")
	var us int64
	if w.Token, err = strconv.ParseUint(tokenText, 10, 64); err == nil {
		us, err = strconv.ParseInt(settleText, 10, 64)
	}
	if err != nil || !more || !all || queued != "0" && queued != "1" {
		return Won{}, unexpected(text)
	}
	w.Waiting, w.Settle = queued == "1", time.Duration(us)*time.Microsecond
	return w, nil
}

func unexpected(text string) error {
	return fmt.Errorf("%w: %q from a script", resp.ErrProtocol, text)
}

// Look calls lua/look.lua: may the session claim the lock, and if not, who is in the way?
type Look struct {
	Channel, SID string
	Why          LookReason
	Evict        string // a session that is to be put out of the queue, if it is its turn; or ""
}

// A LookReason is why one looks before a claim, which disturbs the others on the channel.
type LookReason string

// The reasons to look.
const (
	LookToPoll LookReason = "poll" // the session waits
	LookToJoin LookReason = "join" // it has subscribed to its wait channel, to do so
	LookToAsk  LookReason = "ask"  // it will not wait
)

// In returns the call.
func (l Look) In(s Scheme) Call {
	return s.call(lookScript, l.Channel, l.SID, expiry, string(l.Why), NewPing(WaitChannel(l.Channel, l.SID)), l.Evict)
}

// A LookAnswer is what a look has shown.
type LookAnswer struct {
	Free     bool          // for the session: it may claim the lock
	Place    int           // in the queue, from 1; 0: none
	Obstacle Obstacle      // who is in the way, to a poll
	Left     time.Duration // for how long the lock is left to portalocker, to the first two in the queue
	StandBy  bool          // the first in the queue is to claim the lock all the same: to stand by
}

// An Obstacle is who keeps a session from a lock.
type Obstacle struct {
	Role      Role
	SID       string
	Token     string
	Client    string        // the id of its connection
	Timeout   time.Duration // its UnavailableTimeout; 0: not known
	Receivers int           // of the ping, where it is not known who it is
}

// A Role is what makes somebody an obstacle.
type Role string

// The roles of an obstacle.
const (
	Nobody  Role = ""        // in particular
	Holder  Role = "pinged"  // the holder, or the one that stands by: it has been pinged
	Unknown Role = "unknown" // whoever is on the channel has been pinged
	Head    Role = "idle"    // the lock is free, and it is the turn of this waiter
)

// ParseLook parses the answer to a look.
func ParseLook(text string) (LookAnswer, error) {
	if text == "free" {
		return LookAnswer{Free: true}, nil
	}
	return parseHeld(text)
}

// parseHeld parses "held PLACE" and what follows it.
func parseHeld(text string) (a LookAnswer, err error) {
	f := append(strings.Fields(text), "", "", "", "", "", "")
	if a.Place, err = strconv.Atoi(f[1]); err != nil || f[0] != "held" {
		return LookAnswer{}, unexpected(text)
	}
	a.StandBy = strings.HasSuffix(text, " standby")
	var us int64
	switch role := Role(f[2]); role {
	case "yield":
		us, err = strconv.ParseInt(f[3], 10, 64)
		if a.Place <= 2 {
			a.Left = time.Duration(us) * time.Microsecond
		}
	case Unknown:
		a.Obstacle.Role = role
		a.Obstacle.Receivers, err = strconv.Atoi(f[3])
	case Head:
		a.Obstacle = Obstacle{Role: role, SID: f[3]}
	case Holder:
		us, err = strconv.ParseInt(f[6], 10, 64)
		a.Obstacle = Obstacle{Role: role, SID: f[3], Token: f[4], Client: f[5], Timeout: time.Duration(us) * time.Microsecond}
	}
	if err != nil {
		return LookAnswer{}, unexpected(text)
	}
	return a, nil
}

// Release calls lua/release.lua: the session has left the channel, and others may wait.
type Release struct {
	Channel, SID string
	Asked        Generation // which of portalocker's has asked the session for the lock
}

// In returns the call.
func (r Release) In(s Scheme) Call { return r.by(releaseScript, s) }

func (r Release) by(sc *script, s Scheme) Call { return s.call(sc, r.Channel, r.SID, r.Asked.String()) }

// ReleaseCameLate reports whether the answer to a release says that the session is on the
// channel again.
func ReleaseCameLate(answer string) bool { return answer == "notyet" }

// Leave calls lua/leave.lua: the session gives up its place in the queue.
type Leave struct{ Channel, SID string }

// In returns the call.
func (l Leave) In(s Scheme) Call { return s.call(leaveScript, l.Channel, l.SID) }

// Forget calls lua/forget.lua: nobody needs to wait for the session to hear of its end.
type Forget struct{ Channel, SID string }

// In returns the call.
func (f Forget) In(s Scheme) Call { return s.call(forgetScript, f.Channel, f.SID) }

// Renew calls lua/renew.lua: the keys of a lock that is held last, and are restored.
type Renew struct {
	Channel, SID string
	Token, Last  uint64 // and the last one that is reserved
	Run          string // the id of the server's run
	About        About
	Age          time.Duration // of the hold
}

// In returns the call.
func (r Renew) In(s Scheme) Call {
	return s.call(renewScript, r.Channel, r.SID, strconv.FormatUint(r.Token, 10), strconv.FormatUint(r.Last, 10), r.Run, string(r.About), expiry, microseconds(r.Age))
}

// Inspect calls lua/inspect.lua: who holds the lock?
type Inspect struct{ Channel string }

// In returns the call.
func (i Inspect) In(s Scheme) Call { return s.call(inspectScript, i.Channel) }

// An InspectAnswer is what the server knows of a lock.
type InspectAnswer struct {
	Waiters int
	Held    bool
	Holder  Hint // zero: not known
}

// ParseInspect parses the answer to an inspection.
func ParseInspect(text string) (InspectAnswer, error) {
	words := strings.SplitN(text, " ", 3)
	waiters, err := strconv.Atoi(words[0])
	if err != nil || len(words) < 2 {
		return InspectAnswer{}, unexpected(text)
	}
	a := InspectAnswer{Waiters: waiters, Held: words[1] == "held"}
	if a.Held && len(words) == 3 {
		a.Holder = ParseHint(words[2])
	}
	return a, nil
}
