/*
 * A model of how locks work on Redis, for spin (Debian's package): the server's
 * side of one lock, and processes that claim it, hold it, wait for it and fail.
 * protocol_check.sh has spin look at every state that they can come to.
 *
 * Each step names the script or the function that it stands for. Who changes the
 * one has to change the other. The labels of a process say in which phase it is there
 * (../session/member.go).
 *
 * What is checked, and where:
 *   - Exclusion: no two hold the lock with Done open. (grant, foreign)
 *   - Tokens: each lock has a greater one than all before. (grant)
 *   - No lost wake-up: the check interval passes only when nothing else can happen,
 *     and no more than K times before somebody is granted the lock. With K 0, nobody
 *     who waits for a free lock is ever left without a wake-up. (clock)
 *   - Nobody is stuck elsewhere. (spin's invalid end states)
 *
 * A step may take any time: so may what it sends, and the answer. Where the protocol
 * relies on the clock, the model says that it is kept:
 *   - Settling lasts until the last holder has heard of its loss (SettleTime).
 *   - A session is disconnected, or put out of the queue, only while it is frozen, and
 *     its lease is over (lease.go says why). Just then it may come back.
 *   - The check interval is longer than all that takes no timer. So is the time after
 *     which a claim gives way (giveWayAfter): not to others who claim, who are gone by then.
 *
 * What is left out:
 *   - A restart of the server, failover, slots that move: they end all sessions, and
 *     the next holder settles for a lease. Who is frozen within its lease, or does not
 *     hear within SettleTime that its connection was cut, is covered by tokens alone.
 *   - n:locker:holder deleted just when its holder's connection is cut: nobody is named to be
 *     waited for, so there are two holders for as long as SettleTime would have been.
 *   - A foreign holder where connections are cut (it does not settle), or that hangs.
 *   - More than two faults, and more than one among three processes.
 *   - Scripts on the session's own connection run in order with the rest; here they
 *     may run at any time after it, as by the client, which includes that. "notyet"
 *     changes nothing, and is not there.
 *   - n:locker:yield, which is for those of portalocker: for as long as it says, nobody is woken
 *     and nobody takes the lock, and those who look meanwhile look again at its end. One
 *     that stands by leaves the channel: here it may do so at any time (FOREIGN). Nobody
 *     comes to stand by while the key is there: here one may choose not to (STANDBY 2).
 *   - What is done for speed alone: "near", polls at longer intervals behind the first
 *     two of the queue, though at least every two seconds, passing the lock on within a process. The
 *     goroutines of a process are put in order by waitlist.go: here there is one.
 */

/* How much there is of everything: spin -D. */
#ifndef N
#define N 2        /* processes */
#endif
#ifndef TRY
#define TRY 0      /* 1: some Acquires do not wait */
#endif
#ifndef GIVEUP
#define GIVEUP 0   /* how many of them may give up */
#endif
#ifndef CLOSE
#define CLOSE 0    /* 1: who is done closes its Locker */
#endif
#ifndef POLLS
#define POLLS 0    /* how many waiters look before they have to */
#endif
#ifndef K
#define K 0        /* how many check intervals may pass before somebody has the lock */
#endif
#ifndef FAULTS
#define FAULTS 0   /* how many of those that are allowed happen: */
#endif
#ifndef VANISH
#define VANISH 0   /* keys are deleted */
#endif
#ifndef CRASH
#define CRASH 0    /* a process is killed */
#endif
#ifndef LOSE
#define LOSE 0     /* a connection is cut */
#endif
#ifndef HANG
#define HANG 0     /* a process is frozen, for a time or for ever */
#endif
#ifndef TOGETHER
#define TOGETHER 0 /* 1: all processes but the last were frozen at once, for ever: the first one
                    * held the lock, or was killed, and the others waited for it */
#endif
#ifndef RENEW
#define RENEW 0    /* 1: holders restore their hints */
#endif
#ifndef STANDBY
#define STANDBY 0  /* 1: who may stand by does, 2: not always; 0: nobody, as with RESP2 */
#endif
#ifndef FOREIGN
#define FOREIGN 0  /* 1: there is a contender of another library */
#endif

/* Rules. With -DBROKEN=one of them it is not kept, and spin has to find an error. */
#ifndef BROKEN
#define BROKEN 0
#endif
#define ALONE    1   /* only being alone on the channel wins, no key does */
#define SETTLE   2   /* a winner waits until the last holder knows of its loss */
#define INHERIT  3   /* or, if it leaves before, the next one waits for both */
#define FORGET   4   /* Close keeps a hint that somebody has to be waited for */
#define LEASE    5   /* who was frozen sees by the clock that its lock is lost */
#define TIME     6   /* a token is no less than the clock of the server */
#define COUNT    7   /* a winner knows whether others wait */
#define RELEASE  8   /* who leaves, and knows that others wait, wakes one */
#define PASS_ON  9   /* who gives up passes on a wake-up */
#define ORDER    10  /* who steps back is on its wait channel before it leaves the lock's */
#define KILL     11  /* a holder that hangs is disconnected */
#define EVICT    12  /* a waiter that hangs is put out of the queue */
#define TELL     13  /* who queues up tells the holder */
#define PING     14  /* or, where none is known, those who claim the lock */
#define GIVE     15  /* who stands by is given the lock only if it is alone on the channel */
#define STALE    16  /* an earlier time that it stood by does not count */
#define FRONT    17  /* all who wait look for those who hang, and not only the first two */

#define SIDS (N + FAULTS) /* who has lost its session has another one */
#define NONE 15
#define OTHER 14 /* protocol.Foreign */
#define bit(s) (1 << (s))

mtype = { poll, join, ask };              /* why one looks */
mtype = { won, held, first, free, idle, passed }; /* what a script answers */

/* The server. Sessions are numbered. */
bool lives[SIDS];     /* its connection, and its session channel */
bool on_lock[SIDS];   /* subscribed to n and n:h:<sid>, which is one command */
bool on_wait[SIDS];   /* subscribed to n:w:<sid> */
byte subscribers;     /* of n */
chan queue = [SIDS] of { byte }; /* n:locker:queue */
byte holder = NONE;   /* n:locker:holder: SID */
bool named_won;       /* n:locker:holder: TOKEN is not 0 */
byte standby = NONE;  /* n:locker:standby: SID */
byte owing;           /* n:locker:holder: UNTIL, as the set of sessions that have to hear of their loss */
bool fence = true;    /* n:locker:fence is there */
byte closing = NONE;  /* a session whose process has closed the connection */

byte owner[SIDS];     /* whose session it is */
byte next = N;        /* the next session */
byte cut;             /* the sessions whose locks are gone, and who do not know it yet */

/* The processes, as far as others see them. */
byte sid[N];          /* its session */
bool queued[N];       /* place.queued */
bool woken[N];        /* place.woken */
bool told[N];         /* asked.told */
bool stands[N];       /* phase standing */
bool given[N];        /* claim.given */
byte settles[N];      /* whom the winner has to wait for */
bool holds[N];        /* phase held: it has won, and may be settling yet */
bool has_lock[N];     /* Acquire has returned, and Done is open */
byte token[N];        /* of who has won: its place among those and the last one granted, 0 */
bool sleeping[N];     /* waits for a wake-up or the check interval */
bool due[N];          /* its check interval has passed */
bool dead[N];         /* makes no step any more */
bool hung[N];         /* makes none for now */
bool late[N];         /* its lease is over */

byte intervals;       /* that have passed since somebody had the lock */
byte polls = POLLS;
bool foreign_on, foreign_holds;
mtype answer;         /* of the script that has just run; 0 between steps */

hidden byte ahead, last, debt, i, j, is_free, is_empty, is_held, has_place, at_head, judges; /* used within one d_step */

#define may_stand_by (answer == held && at_head && is_held && named_won) /* look.lua says so */
#define runs(p) (!hung[p] && !dead[p])
#define up(p) (runs(p) && lives[sid[p]]) /* and the server takes what it sends */

/* At each point where a process may be for some time: its session ends. (session.end,
 * by the reading goroutine, or by watch and Check when the lease is over) */
#define OR_ENDS :: atomic { dead[p] || runs(p) && (!lives[sid[p]] || late[p] && holds[p]) -> goto over }

/* common.lua: tell, wake */
inline wake(s) {
	if
	:: on_wait[s] || on_lock[s] -> woken[owner[s]] = true
	:: else
	fi
}

/* publish(hold_channel(n, s), 'wait') */
inline tell(s) {
	if
	:: s != NONE && on_lock[s] && BROKEN != TELL -> told[owner[s]] = true
	:: else
	fi
}

/* common.lua: first_waiting, is_waiting */
inline first_waiting(me) {
	do
	:: empty(queue) -> ahead = NONE; break
	:: nempty(queue) ->
		queue?<ahead>;
		if
		:: ahead == me || on_wait[ahead] || on_lock[ahead] -> break
		:: else -> queue?_
		fi
	od
}

inline first_of_queue() {
	if
	:: empty(queue) -> j = NONE
	:: nempty(queue) -> queue?<j>
	fi
}

/* common.lua: append, place_of */
inline append(s) {
	if
	:: !queue??[eval(s)] -> queue!s
	:: else
	fi
}

/* claim.lua: queue_up, and member.isHeld */
inline queue_up(me) {
	answer = held; stands[p] = false;
	if
	:: wants || queued[p] -> append(me); queued[p] = true
	:: else
	fi
}

/* common.lua: settled_at. last is whom n:locker:holder names. */
inline settled_at() {
	debt = (BROKEN == INHERIT -> 0 : owing & cut);
	if
	:: last != NONE && !lives[last] -> debt = debt | (bit(last) & cut)
	:: else
	fi
}

/* common.lua: win, for process q. The token is max(last + 1, TIME), and the clock of the
 * server goes on, so it is greater than all before. */
inline win(q) {
	token[q] = 0;
	for (i : 0 .. N - 1) {
		if
		:: token[i] > token[q] -> token[q] = token[i]
		:: else
		fi
	}
	token[q] = (BROKEN == TIME && !fence -> 0 : token[q] + 1);
	fence = true;
	settled_at(); holder = sid[q]; named_won = true; owing = debt; settles[q] = debt;
	first_of_queue();
	if
	:: j == sid[q] ->
		queue?_;
		first_of_queue();
		if /* move_up, and member.isNext */
		:: j != NONE && STANDBY == 1 && !stands[owner[j]] -> woken[owner[j]] = true
		:: else
		fi
	:: else
	fi;
	i = 0; j = 0
}

/* common.lua: give, with give.lua; and member.isGiven */
inline give(s) {
	last = holder;
	win(owner[s]);
	if
	:: stands[owner[s]] -> given[owner[s]] = true; told[owner[s]] = nempty(queue)
	:: else -> told[owner[s]] = true; woken[owner[s]] = true
	fi
}

/* common.lua: pass_on */
inline pass_on(me) {
	first_waiting(NONE);
	if
	:: ahead == NONE
	:: ahead != NONE && holder != NONE && holder != me && on_lock[holder] -> tell(holder)
	:: else ->
		if
		:: standby == ahead && on_lock[ahead] && (subscribers == 1 || BROKEN == GIVE) -> give(ahead)
		:: else -> wake(ahead)
		fi
	fi
}

/* A ping on n: who claims the lock knows then that others wait. (member.pinged) Who
 * stands by looks. (member.standbyPinged) */
inline ping() {
	for (i : 0 .. SIDS - 1) {
		if
		:: i != sid[p] && on_lock[i] && !holds[owner[i]] && !given[owner[i]] ->
			told[owner[i]] = true;
			due[owner[i]] = due[owner[i]] || stands[owner[i]] && sleeping[owner[i]]
		:: else
		fi
	}
	i = 0
}

/* claim.lua, with free.lua, and what claim.won and member.isHeld make of it. can says
 * whether the session can stand by, again whether it has until now. */
inline claim_lua(me, can, again) {
	last = holder;
	standby = (standby == me && BROKEN != STALE -> NONE : standby);
	first_waiting(me);
	ahead = (ahead == me -> NONE : ahead);
	if
	:: again && last == me && named_won -> answer = passed
	:: else
	fi;
	if
	:: answer == passed
	:: answer != passed && ahead == NONE && (subscribers == 1 || BROKEN == ALONE && (last == NONE || !on_lock[last])) ->
		win(p);
		queued[p] = false; holds[p] = true; stands[p] = false; given[p] = false;
		told[p] = told[p] || nempty(queue) && BROKEN != COUNT;
		answer = won
	:: answer != passed && subscribers == 1 && ahead != NONE ->
		wake(ahead);
		queue_up(me)
	:: answer != passed && subscribers > 1 && last != NONE && last != me && on_lock[last] ->
		queue_up(me);
		if
		:: queued[p] -> tell(last)
		:: else
		fi;
		first_of_queue();
		if
		:: can && queued[p] && j == me && named_won ->
			standby = me; stands[p] = true; on_wait[me] = true; woken[p] = false
		:: else
		fi;
		j = 0
	:: else ->
		if
		:: ahead != NONE ->
			if
			:: subscribers == 2 && on_lock[ahead] -> wake(ahead)
			:: else
			fi;
			queue_up(me)
		:: ahead == NONE && known == OTHER -> queue_up(me)
		:: ahead == NONE && known < OTHER && on_lock[known] ->
			holder = known; named_won = false; owing = 0;
			queue_up(me);
			if
			:: queued[p] -> tell(known)
			:: else
			fi
		:: else ->
			settled_at(); holder = me; named_won = false; owing = debt;
			answer = first
		fi
	fi
}

/* look.lua. who is set to the one that the answer names, at_head to whether this one is
 * the first in the queue. */
inline look_lua(me, why) {
	first_waiting(me);
	is_empty = (subscribers == 0 || subscribers == 1 && on_lock[me]);
	is_free = is_empty || subscribers == 1 && ahead != NONE && ahead != me && on_lock[ahead];
	if
	:: is_empty && ahead != NONE && ahead == evict -> queue??eval(evict); first_waiting(me)
	:: else
	fi;
	evict = NONE; who = NONE; answer = 0;
	has_place = queue??[eval(me)];
	if
	:: !has_place && why != poll && is_free && ahead == NONE -> answer = free
	:: !has_place && why != poll && is_free && ahead != NONE -> wake(ahead)
	:: else
	fi;
	if
	:: answer == 0 && !has_place && why == ask -> answer = held
	:: answer == 0 && holder == me && on_lock[me] -> answer = free
	:: else
	fi;
	is_held = (holder != NONE && holder != me && on_lock[holder]);
	if
	:: answer == 0 && !has_place ->
		if
		:: why == poll ->
			for (i : 0 .. SIDS - 1) {
				if
				:: on_wait[i] && !on_lock[i] -> append(i)
				:: else
				fi
			}
			first_waiting(me)
		:: else
		fi;
		append(me);
		if
		:: is_held -> tell(holder)
		:: !is_held && !is_free && BROKEN != PING -> ping()
		:: else
		fi
	:: else
	fi;
	at_head = (ahead == NONE || ahead == me);
	if
	:: answer == 0 && is_free && at_head -> answer = free
	:: answer == 0 && is_free && !at_head -> wake(ahead); answer = (is_empty -> idle : held); who = ahead
	:: answer == 0 && !is_free -> answer = held
	:: else
	fi;
	if
	:: answer == held && why == poll -> ping()
	:: else
	fi;
	if
	:: answer == held && is_held -> who = holder
	:: else
	fi;
	judges = true;
	if
	:: BROKEN == FRONT -> /* is it one of the first two? */
		for (i : 1 .. len(queue)) {
			queue?j; queue!j;
			if
			:: j == me -> judges = (i <= 2)
			:: else
			fi
		}
		i = 0; j = 0
	:: else
	fi
}

/* leave.lua */
inline leave_lua(me) {
	if
	:: queue??[eval(me)] -> queue??eval(me)
	:: else
	fi;
	if
	:: BROKEN != PASS_ON -> pass_on(me)
	:: else
	fi
}

/* forget.lua */
inline forget_lua(me) {
	if
	:: holder == me && ((owing & cut) == 0 || BROKEN == FORGET) -> holder = NONE; named_won = false; owing = 0
	:: else
	fi
}

/* The server ends a connection. Who holds a lock hears of it later. */
inline drop(s) {
	lives[s] = false; on_wait[s] = false;
	if
	:: on_lock[s] -> on_lock[s] = false; subscribers--
	:: else
	fi;
	if
	:: sid[owner[s]] == s && (holds[owner[s]] || given[owner[s]]) && !late[owner[s]] && !dead[owner[s]] -> cut = cut | bit(s)
	:: else
	fi
}

/* Acquire returns a lock. */
inline grant() {
	assert(!foreign_holds);
	assert(token[p] > 0);
	for (i : 0 .. N - 1) {
		assert(!has_lock[i]);
		if
		:: i != p -> token[i] = (token[i] > token[p] -> token[i] - token[p] : 0)
		:: else
		fi
	}
	token[p] = 0;
	has_lock[p] = true; acquiring = false; wants = false; known = NONE; pinged = false; settles[p] = 0;
	intervals = 0
}

/* claim.subscribe: SUBSCRIBE n n:h:<sid>. A lease runs from here. */
inline subscribe() {
	on_lock[sid[p]] = true; subscribers++;
	told[p] = false; late[p] = false
}

/* The same from one that stands by, and is there already. It may be given the lock until
 * the claim is answered. */
inline claim_again() { again = true; late[p] = false }

/* member.fromStandby, claim.takeGift: what was given is taken. */
inline take() {
	stands[p] = false; given[p] = false; queued[p] = false; woken[p] = false; holds[p] = true
}

inline awake() { sleeping[p] = false; due[p] = false }

/* Acquire returns an error, or the lock was released. */
inline rest() { acquiring = false; wants = false; quits = false }

proctype process(byte p)
{
	bool acquiring;      /* in Acquire */
	bool wants;          /* Attempt.Wait */
	bool quits;          /* its ctx has ended */
	bool pinged;         /* claim.settle: pinged */
	byte known = NONE;   /* claim.holder: who has answered */
	bool can;            /* its connection can stand by */
	bool again;          /* claim.again */
	byte who = NONE;     /* whom a look has named */
	byte evict = NONE;   /* whom the next look is to put out of the queue */

attempt: /* idle, or standing: session.try, session.plan. Who has met others lately looks first. */
	if
	:: atomic { runs(p) && !acquiring -> goto stop }
	:: atomic { runs(p) && given[p] && !late[p] -> take(); goto settle } /* member.fromStandby */
	:: atomic { up(p) && given[p] && late[p] -> late[p] = false; take(); goto settle } /* session.leased: a heartbeat comes back */
	:: atomic { up(p) && stands[p] && !given[p] ->
		if
		:: woken[p] -> woken[p] = false; claim_again(); goto claim
		:: !woken[p] -> late[p] = false; goto look_to_poll
		:: FOREIGN -> goto step_back
		fi }
	:: atomic { up(p) && !stands[p] ->
		if
		:: !acquiring -> acquiring = true; wants = true
		:: !acquiring && TRY -> acquiring = true
		:: acquiring
		fi;
		if
		:: queued[p] && woken[p] -> woken[p] = false; subscribe(); goto claim
		:: queued[p] && (!woken[p] || POLLS) -> goto look_to_poll /* the wake-up is on its way yet */
		:: !queued[p] -> woken[p] = false; subscribe(); goto claim
		:: !queued[p] && wants -> woken[p] = false; queued[p] = true; on_wait[sid[p]] = true; goto look_to_join
		:: !queued[p] && !wants -> woken[p] = false; goto look_to_ask
		fi }
	OR_ENDS
	fi;

look_to_join: /* idle: member.poll */
	if
	:: atomic { up(p) -> d_step { look_lua(sid[p], join); who = NONE }; printf("%d: look to join: %e\n", p, answer);
		if
		:: answer == free -> answer = 0; queued[p] = false; goto looked
		:: answer != free && (STANDBY != 1 || !may_stand_by) -> answer = 0; sleeping[p] = true; goto asleep
		:: STANDBY && may_stand_by -> answer = 0; goto looked
		fi }
	OR_ENDS
	fi;

look_to_ask:
	if
	:: atomic { up(p) -> d_step { look_lua(sid[p], ask); who = NONE }; printf("%d: look to ask: %e\n", p, answer);
		if
		:: answer == free -> answer = 0; goto looked
		:: else -> answer = 0; rest(); goto attempt
		fi }
	OR_ENDS
	fi;

look_to_poll: /* idle, or standing: and member.judge: who does not answer for long enough is frozen */
	if
	:: atomic { up(p) -> d_step { look_lua(sid[p], poll) }; printf("%d: look to poll: %e\n", p, answer);
		if
		:: answer == free && stands[p] && given[p] -> answer = 0; goto attempt
		:: answer == free && stands[p] && !given[p] -> answer = 0; claim_again(); goto claim
		:: answer == free && !stands[p] -> answer = 0; goto looked
		:: answer == idle && hung[owner[who]] && sid[owner[who]] == who && BROKEN != EVICT && judges ->
			answer = 0; evict = who; who = NONE; goto look_to_poll
		:: answer == held ->
			d_step {
				if
				:: who == NONE -> /* Server.Others: the holder is not known */
					for (i : 0 .. SIDS - 1) {
						if
						:: i != sid[p] && on_lock[i] && hung[owner[i]] && sid[owner[i]] == i -> who = i
						:: else
						fi
					}
				:: else
				fi;
				i = 0
			};
			if
			:: who != NONE && hung[owner[who]] && sid[owner[who]] == who && BROKEN != KILL && judges -> answer = 0; goto disconnect
			:: else
			fi
		:: else
		fi;
		who = NONE;
		if
		:: stands[p] && (answer == idle || !at_head) -> answer = 0; goto step_back
		:: STANDBY && !stands[p] && may_stand_by -> answer = 0; goto looked
		:: (stands[p] && answer == held && at_head) || !stands[p] && (STANDBY != 1 || !may_stand_by) -> answer = 0; sleeping[p] = true; goto asleep
		fi }
	OR_ENDS
	fi;

disconnect: /* member.disconnect. It may have come back meanwhile. */
	if
	:: atomic { up(p) -> printf("%d: CLIENT KILL of session %d\n", p, who); d_step { drop(who); who = NONE }; goto look_to_poll }
	OR_ENDS
	fi;

looked:
	if
	:: atomic { up(p) -> subscribe() }
	OR_ENDS
	fi;

claim: /* claiming: claim.settle */
	if
	:: atomic { up(p) ->
		if
		:: STANDBY != 1 -> can = false
		:: STANDBY -> can = true
		fi;
		d_step { claim_lua(sid[p], can, again) }; can = false; printf("%d: claim: %e\n", p, answer);
		if
		:: answer == passed && given[p] -> answer = 0; again = false; take(); goto settle
		:: answer == passed && !given[p] -> answer = 0; goto step_back
		:: answer == held && stands[p] -> answer = 0; again = false; sleeping[p] = true; goto asleep
		:: answer == held && !stands[p] -> answer = 0; goto step_back
		:: answer == won -> answer = 0; again = false; goto settle
		:: answer == first -> answer = 0
		fi }
	OR_ENDS
	fi;
	if
	:: up(p) -> goto claim
	:: atomic { up(p) && !pinged -> pinged = true; d_step { ping() }; goto claim } /* claim.ping */
	:: atomic { up(p) && pinged && known == NONE -> /* member.answered: a holder answers */
		d_step {
			for (i : 0 .. N - 1) {
				if
				:: i != p && (holds[i] || given[i]) && up(i) && on_lock[sid[i]] -> known = sid[i]
				:: else
				fi
			}
			i = 0
		};
		goto claim }
	:: atomic { up(p) && pinged && known == NONE -> /* claim.giveWay: somebody is there for longer than a claim takes */
		d_step {
			for (i : 0 .. N - 1) {
				if
				:: i != p && (holds[i] || hung[i] || stands[i]) && on_lock[sid[i]] -> known = OTHER
				:: else
				fi
			}
			known = (foreign_on -> OTHER : known)
		};
		goto claim }
	:: atomic { up(p) && p < GIVEUP -> quits = true; goto step_back } /* claim.abandon */
	OR_ENDS
	fi;

settle: /* held: claim.won. The first look at Err is part of it. */
	if
	:: atomic { runs(p) && !late[p] && ((settles[p] & cut) == 0 || BROKEN == SETTLE) -> d_step { grant() }; printf("%d: has the lock\n", p) }
	:: atomic { up(p) && p < GIVEUP -> quits = true; goto step_back }
	OR_ENDS
	fi;

step_back: /* leaving: hold.StartRelease, member.stepBack: member.leaveChannel. When that is confirmed,
            * what was said on the hold channel has come: told is what it is now. */
	if
	:: atomic { up(p) -> printf("%d: UNSUBSCRIBE\n", p);
		known = NONE; pinged = false; settles[p] = 0;
		told[p] = told[p] || given[p];
		woken[p] = woken[p] || given[p];
		stands[p] = false; given[p] = false; again = false;
		on_lock[sid[p]] = false; subscribers--;
		on_wait[sid[p]] = queued[p] && BROKEN != ORDER;
		woken[p] = woken[p] && queued[p]; /* member.forget */
		holds[p] = false; has_lock[p] = false; token[p] = 0 }
	OR_ENDS
	fi;
	if
	:: atomic { up(p) ->
		if
		:: told[p] && BROKEN != RELEASE -> d_step { pass_on(sid[p]) }; printf("%d: release script\n", p) /* release.lua */
		:: else
		fi;
		told[p] = false;
		on_wait[sid[p]] = queued[p];
		if
		:: queued[p] && !quits -> sleeping[p] = true; goto asleep
		:: queued[p] && quits -> goto leave
		:: !queued[p] -> rest(); goto attempt
		fi }
	OR_ENDS
	fi;

asleep: /* idle, with a place in the queue, or standing: Base.contend */
	if
	:: atomic { runs(p) && (woken[p] || due[p] || given[p]) -> awake(); goto attempt }
	:: atomic { runs(p) && polls > 0 -> polls--; awake(); goto attempt }
	:: atomic { up(p) && p < GIVEUP -> awake(); goto leave }
	OR_ENDS
	fi;

leave: /* leaving, or idle: session.leave. Who stands by leaves the channel first. */
	if
	:: atomic { up(p) && stands[p] ->
		stands[p] = false; given[p] = false; settles[p] = 0; token[p] = 0;
		on_lock[sid[p]] = false; on_wait[sid[p]] = false; subscribers--; goto leave_queue }
	:: up(p) && !stands[p]
	OR_ENDS
	fi;
leave_queue:
	if
	:: atomic { up(p) -> d_step { leave_lua(sid[p]) }; printf("%d: leave script\n", p); queued[p] = false }
	OR_ENDS
	fi;
	if
	:: atomic { up(p) -> on_wait[sid[p]] = false; woken[p] = false; told[p] = false; rest(); goto attempt }
	OR_ENDS
	fi;

over: /* session.end: Done closes. An Acquire that waits goes on with a new session. */
	if
	:: atomic { dead[p] -> awake(); goto end }
	:: atomic { runs(p) && (!lives[sid[p]] || closing == NONE) ->
		awake(); queued[p] = false; woken[p] = false; told[p] = false; holds[p] = false; has_lock[p] = false; token[p] = 0;
		stands[p] = false; given[p] = false; again = false; settles[p] = 0;
		known = NONE; pinged = false; who = NONE; evict = NONE;
		cut = cut & ~bit(sid[p]);
		if
		:: lives[sid[p]] -> closing = sid[p]
		:: else
		fi;
		if
		:: quits -> rest()
		:: else
		fi;
		late[p] = false;
		sid[p] = next; owner[next] = p; lives[next] = true; next++;
		printf("%d: new session %d\n", p, sid[p]);
		goto attempt }
	fi;

stop:
	if
	:: !CLOSE -> goto end
	:: CLOSE && dead[p] -> goto end
	:: atomic { CLOSE && up(p) -> d_step { forget_lua(sid[p]) } } /* node.end: forget */
	:: atomic { CLOSE && runs(p) && !lives[sid[p]] -> goto end }
	fi;
	atomic { d_step { dead[p] = true; drop(sid[p]) } };
end:	skip
}

/* Another library, such as portalocker: it subscribes, and holds the lock if it is
 * alone. It does not queue, and tells nobody that it leaves. */
proctype foreign()
{
	do
	:: atomic { foreign_on = true; subscribers++ };
		if
		:: atomic { subscribers == 1 ->
			d_step {
				for (i : 0 .. N - 1) { assert(!has_lock[i]) }
				intervals = 0; foreign_holds = true
			} };
			foreign_holds = false
		:: subscribers > 1
		fi;
		atomic { foreign_on = false; subscribers-- }
	:: break
	od
}

proctype faults()
{
	byte left = FAULTS, p;
again:
	do
	:: atomic { left > 0 ->
		/* Processes are alike: the first to be hit is 0. (With GIVEUP, one that gives up.) */
		p = 0;
		do
		:: p < FAULTS - left && p < N - 1 -> p++
		:: break
		od;
		left--;
		if
		:: VANISH -> holder = NONE; named_won = false; owing = 0; printf("n:locker:holder vanishes\n")
		:: VANISH -> fence = false; printf("n:locker:fence vanishes\n")
		:: VANISH -> d_step { do :: queue?_ :: empty(queue) -> break od }; printf("n:locker:queue vanishes\n")
		:: VANISH -> d_step { holder = NONE; named_won = false; owing = 0; standby = NONE; fence = false; do :: queue?_ :: empty(queue) -> break od }; printf("FLUSHALL\n")
		:: CRASH && !dead[p] && lives[sid[p]] -> d_step { dead[p] = true; has_lock[p] = false; drop(sid[p]) }; printf("%d: crashes\n", p)
		:: LOSE && !dead[p] && lives[sid[p]] -> d_step { drop(sid[p]) }; printf("%d: its connection is cut\n", p)
		:: HANG && !dead[p] && lives[sid[p]] -> goto hang
		:: skip /* none */
		fi;
		p = 0 }
	:: left == 0 -> break
	od;
	goto end;
hang:
	atomic { true ->
		hung[p] = true; late[p] = true;
		if
		:: BROKEN == LEASE -> late[p] = false
		:: else -> has_lock[p] = false
		fi;
		printf("%d: hangs\n", p);
		if
		:: dead[p] = true; goto again /* for ever */
		:: goto resume
		:: goto end_disconnected
		fi };
end_disconnected: /* until others have done something about it */
	!lives[sid[p]] || queued[p] && !queue??[eval(sid[p])];
resume:
	atomic { hung[p] = false; printf("%d: goes on\n", p); goto again };
end:	skip
}

/* renew.lua: a holder restores its hint, as it finds that the data was flushed, or as a
 * waiter asks it to; or not in time. */
proctype renew()
{
	byte p;
	do
	:: atomic { holds[p] && up(p) && on_lock[sid[p]] &&
		(holder == NONE || holder == sid[p] && !named_won || holder != sid[p] && !on_lock[holder]) ->
		holder = sid[p]; named_won = true; printf("%d: restores its hint\n", p) }
	:: p < N - 1 -> p++
	:: break
	od
}

/* The server drops what a client has closed. */
proctype server()
{
end:	do
	:: atomic { closing != NONE -> d_step { drop(closing); closing = NONE } }
	od
}

/* When nothing else can happen, those who wait look at the lock. */
proctype clock()
{
	bool waits;
end:	do
	:: atomic { timeout ->
		waits = false;
		d_step {
			for (i : 0 .. N - 1) {
				if
				:: sleeping[i] && runs(i) -> due[i] = true; waits = true
				:: else
				fi
			}
			i = 0
		};
		if
		:: waits -> waits = false; printf("the check interval passes\n"); intervals++; assert(intervals <= K)
		:: else -> /* who hangs yet will do so for ever */
			d_step { for (i : 0 .. N - 1) { dead[i] = dead[i] || hung[i] } i = 0 };
			break
		fi }
	od
}

/* TOGETHER: the first process holds the lock, the others wait, and nobody makes a step. */
inline hang_together() {
	for (p : 0 .. N - 2) {
		hung[p] = true; late[p] = true; dead[p] = true;
		if
		:: p > 0 -> queue!p; queued[p] = true; on_wait[p] = true
		:: else
		fi
	}
	holder = 0; named_won = true; told[0] = true;
	if
	:: on_lock[0] = true; subscribers++
	:: lives[0] = false
	fi;
	if
	:: STANDBY -> standby = 1; stands[1] = true; on_lock[1] = true; subscribers++
	:: STANDBY != 1
	fi
}

init {
	atomic {
		byte p = 0;
		do
		:: p < N ->
			sid[p] = p; owner[p] = p; lives[p] = true;
			if
			:: !TOGETHER || p == N - 1 -> run process(p)
			:: else
			fi;
			p++
		:: p == N -> break
		od;
		if
		:: TOGETHER -> hang_together()
		:: else
		fi;
		p = 0;
		run faults();
		run server();
		run clock();
		if
		:: RENEW -> run renew()
		:: else
		fi;
		if
		:: FOREIGN -> run foreign()
		:: else
		fi
	}
}
