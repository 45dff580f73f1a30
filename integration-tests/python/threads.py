# Several threads, on one machine and on two.
import concurrent.futures
import threading
import time

start_all()
with concurrent.futures.ThreadPoolExecutor() as pool:
    list(pool.map(lambda each: each.wait_for_unit("multi-user.target"), machines))

with subtest("commands of threads run at once"):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        start = time.monotonic()
        results = list(pool.map(lambda number: server.succeed(f"sleep 3; echo {number}"), range(4)))
        assert results == [f"{number}\n" for number in range(4)]
        assert time.monotonic() - start < 11, time.monotonic() - start

with subtest("a thread waits for what another brings about"):
    seen = []

    def wait():
        client.wait_until_succeeds("curl -sf http://server:8000/hello", timeout=60)
        seen.append(True)

    waiting = threading.Thread(target=wait)
    waiting.start()
    server.succeed("echo hi > /srv/hello", "systemd-run --unit=answer sh -c 'while :; do printf \"HTTP/1.0 200 OK\\r\\n\\r\\nhi\" | nc -l -N 8000; done'")
    waiting.join(timeout=60)
    assert seen == [True]

with subtest("an exception of a thread is its own"):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        failed = pool.submit(server.succeed, "exit 9")
        t.assertIn("exit code 9", str(failed.exception()))
