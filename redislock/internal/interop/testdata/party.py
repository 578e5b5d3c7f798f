# A process that locks with portalocker. It is told on its standard input, a line each:
#   acquire TIMEOUT  take the lock, within so many seconds: says "held 0" or "locked"
#   release          says "released"
#   count N          N times: take the lock, add one to the key counter, which takes two
#                    commands, and release the lock: says "counted", and the longest wait
#                    in milliseconds
#   tries N TIMEOUT  N times: take the lock, within so long ("8s"), and release it: says
#                    "got", how often, and the longest wait in milliseconds
#   want SECONDS     take the lock again and again, soon after it was released: says
#                    "got", how often, and the longest wait in milliseconds
#   exit
import sys
import time

import portalocker
import redis

addr, name, kind = sys.argv[1:]
host, port = addr.rsplit(':', 1)
client = redis.Redis(host=host, port=int(port), decode_responses=True)
if kind == 'portalocker 2':
    lock = portalocker.RedisLock(
        name, redis_kwargs=dict(host=host, port=int(port)), thread_sleep_time=0.01)
else:
    # Version 4 ends by an AssertionError of its own at the second attempt, unless it is
    # given the connection.
    flags = portalocker.LockFlags.SHARED if 'shared' in kind else portalocker.LockFlags.EXCLUSIVE
    lock = portalocker.RedisLock(name, connection=client, flags=flags)

print('ready')
for line in sys.stdin:
    word, _, rest = line.strip().partition(' ')
    if word == 'acquire':
        try:
            lock.acquire(timeout=float(rest))
            print('held 0')
        except portalocker.AlreadyLocked:
            print('locked')
    elif word == 'release':
        lock.release()
        print('released')
    elif word == 'count':
        longest = 0.0
        for _ in range(int(rest)):
            began = time.perf_counter()
            lock.acquire(timeout=30)
            longest = max(longest, time.perf_counter() - began)
            client.set('counter', int(client.get('counter') or 0) + 1)
            lock.release()
        print('counted', int(longest * 1000))
    elif word == 'tries':
        longest, got = 0.0, 0
        number, timeout = rest.split()
        for _ in range(int(number)):
            began = time.perf_counter()
            try:
                lock.acquire(timeout=float(timeout.rstrip('s')))
                got += 1
                lock.release()
            except portalocker.AlreadyLocked:
                pass
            longest = max(longest, time.perf_counter() - began)
            time.sleep(0.25)
        print('got', got, int(longest * 1000))
    elif word == 'want':
        longest, got, end = 0.0, 0, time.perf_counter() + float(rest)
        while time.perf_counter() < end:
            began = time.perf_counter()
            lock.acquire(timeout=30)
            longest = max(longest, time.perf_counter() - began)
            got += 1
            lock.release()
            time.sleep(0.02)
        print('got', got, int(longest * 1000))
    elif word == 'exit':
        break
