import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { Driver } from "../src/driver/Driver.ts"
import * as Image from "../src/images/Image.ts"
import type { Machine as Guest } from "../src/machine/Machine.ts"
import { Machine, machines } from "../src/vitest.ts"
import { rot } from "../test/rot.ts"

/** Milliseconds that the guest's clock is ahead of the host's, at least and at most. */
const aheadOf = Effect.fnUntraced(function* (machine: Guest) {
  const sent = Date.now()
  const said = Number(yield* machine.succeed("date +%s.%N")) * 1000
  return [said - Date.now(), said - sent] as const
})

class Box extends Machine<Box>()("box", { image: Image.tiny(), memory: "256 MiB", disks: ["64 MiB"] }) {}

/** What no two guests may have in common. */
const drawn = (machine: Guest) => machine.succeed("cat /proc/sys/kernel/random/uuid")

/** Seconds that the guest's clock is away from the host's. */
const clockError = Effect.fnUntraced(function* (machine: Guest) {
  const said = yield* machine.succeed("date +%s")
  return Math.abs(Number(said) - Date.now() / 1000)
})

machines(Box)("a snapshot of a small guest", (it) => {
  it.effect("is gone back to: memory, files, a disk and processes are as they were, and the clock is right", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.succeed("echo before >/tmp/file; echo before | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null")
      yield* box.succeed(
        "i=0; while :; do i=$((i + 1)); echo $i >/tmp/count.new; mv /tmp/count.new /tmp/count; sleep 0.1; done >/dev/null 2>&1 & echo $! >/tmp/pid"
      )
      const snapshot = yield* box.snapshot("here")
      assert.deepStrictEqual([snapshot.name, snapshot.machine], ["here", "box"])
      const count = Number(yield* box.succeed("cat /tmp/count"))
      yield* box.succeed(
        "echo after >/tmp/file; rm -rf /root; kill $(cat /tmp/pid); echo after | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null"
      )
      const uuid = yield* drawn(box)
      for (const which of ["here", snapshot]) {
        yield* box.restore(which)
        assert.strictEqual(yield* box.succeed("cat /tmp/file; ls -d /root"), "before\n/root\n")
        assert.match(yield* box.succeed("head -c 6 /dev/vda"), /^before/)
        assert.notStrictEqual(yield* drawn(box), uuid)
        assert.isBelow(yield* clockError(box), 3)
        yield* box.succeed("kill -0 $(cat /tmp/pid)")
        const first = Number(yield* box.succeed("cat /tmp/count"))
        assert.isAtMost(Math.abs(first - count), 100)
        yield* box.succeed(`until [ $(cat /tmp/count) -gt ${first} ]; do sleep 0.1; done`, { timeout: "1 minute" })
        yield* box.succeed("echo spoilt >/tmp/file; dd if=/dev/zero of=/dev/vda bs=512 count=1 conv=fsync 2>/dev/null")
      }
      const error = yield* Effect.flip(box.restore("elsewhere"))
      assert.strictEqual(error._tag, "NoSuchSnapshot")
      assert.include(error.message, "it has here")
    })
  )

  it.effect("makes machines that see nothing of each other, and the first goes on", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.succeed(
        "mkdir -p /tmp/tmpfs; mount -t tmpfs none /tmp/tmpfs; echo all >/tmp/tmpfs/file; echo 0 >/tmp/own"
      )
      yield* box.succeed("echo shared | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null")
      const snapshot = yield* box.snapshot()
      const forks = yield* Effect.forEach([1, 2], () => box.fork({ from: snapshot }))
      assert.deepStrictEqual(
        forks.map(({ name }) => name),
        ["box-fork1", "box-fork2"]
      )
      const all = [box, ...forks]
      yield* Effect.forEach(all, (machine, index) =>
        machine
          .succeed(
            `cat /tmp/tmpfs/file; echo ${index} >/tmp/own; echo ${index} >/tmp/tmpfs/file; echo disk${index} | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null`
          )
          .pipe(Effect.map((said) => assert.strictEqual(said, "all\n")))
      )
      for (const [index, machine] of all.entries()) {
        assert.strictEqual(
          yield* machine.succeed("cat /tmp/own /tmp/tmpfs/file; head -c 5 /dev/vda"),
          `${index}\n${index}\ndisk${index}`
        )
        assert.strictEqual(yield* machine.succeed("hostname"), "box\n")
      }
      const late = yield* box.fork({ from: snapshot })
      assert.strictEqual(yield* late.succeed("cat /tmp/own /tmp/tmpfs/file; head -c 6 /dev/vda"), "0\nall\nshared")
      const ids = yield* Effect.forEach([...all, late], drawn)
      assert.strictEqual(new Set(ids).size, 4)
      yield* Effect.forEach([...forks, late], (machine) => machine.crash())
    })
  )

  it.effect("taken right after a command has worker shells that wait, in which a fork's commands run", () =>
    Effect.gen(function* () {
      const box = yield* Box
      // In busybox the parent of a command is its worker. Lanes take turns, and there are ten at most.
      const workers = new Set(yield* Effect.forEach(Array.from({ length: 10 }), () => box.succeed("echo $PPID")))
      const snapshot = yield* box.snapshot()
      const fork = yield* box.fork({ from: snapshot })
      assert.include([...workers], yield* fork.succeed("echo $PPID"))
      // One that did not wait would have been stopped, and another started.
      yield* fork.succeed(`kill -0 ${[...workers].map((worker) => worker.trim()).join(" ")}`)
      yield* fork.crash()
    })
  )

  it.effect("of a fork is as good as that of the first, and forks of forks go on", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.succeed("echo 0 >/tmp/generation")
      let machine: Guest = box
      for (let generation = 1; generation <= 3; generation++) {
        const next: Guest = yield* machine.fork({ name: `generation${generation}` })
        assert.strictEqual(yield* next.succeed("cat /tmp/generation"), `${generation - 1}\n`)
        yield* next.succeed(
          `echo ${generation} >/tmp/generation; dd if=/dev/urandom of=/tmp/ballast${generation} bs=64k count=16 2>/dev/null`
        )
        machine = next
      }
      yield* machine.snapshot("deep")
      yield* machine.succeed("rm /tmp/ballast*")
      yield* machine.restore("deep")
      assert.strictEqual(yield* machine.succeed("ls /tmp | grep -c ballast; cat /tmp/generation"), "3\n3\n")
      assert.strictEqual(yield* box.succeed("cat /tmp/generation"), "0\n")
    })
  )

  it.effect("can be taken while commands run: they go on here, and end in a fork, which hears nothing of them", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const working = yield* Effect.forkChild(
        box.succeed(
          "i=0; while [ $i -lt 40 ]; do i=$((i + 1)); echo from the source $i; sleep 0.1; done; touch /tmp/worked",
          { timeout: "2 minutes" }
        ),
        { startImmediately: true }
      )
      yield* Effect.sleep("1 second")
      const fork = yield* box.fork()
      for (const word of ["a", "b", "c"]) assert.strictEqual(yield* fork.succeed(`echo ${word}`), `${word}\n`)
      assert.strictEqual((yield* Fiber.join(working)).trim().split("\n").length, 40)
      yield* box.succeed("[ -e /tmp/worked ]")
      yield* fork.fail("sleep 5; [ -e /tmp/worked ]")
      yield* fork.crash()
    })
  )

  it.effect("that is damaged is refused, in QEMU's words or before it starts, and the first machine is as it was", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const { saved } = yield* box.snapshot("damaged")
      const refused = Effect.fnUntraced(function* (wanted: RegExp) {
        const error = yield* Effect.flip(box.fork({ from: "damaged" }))
        assert.strictEqual(error._tag, "BootFailed")
        assert.match(error.message, wanted)
      })
      const state = Path.join(saved.directory, "state")
      const bytes = Fs.readFileSync(state)
      rot(state, Buffer.from(bytes).fill(0xee, bytes.length - 200_000, bytes.length - 100_000))
      yield* refused(/could not resume from .*: (?!its state was changed)/)
      rot(state, Buffer.alloc(bytes.length))
      yield* refused(/could not resume from .*: (?!its state was changed)/)
      const memory = Path.join(saved.directory, "memory")
      const page = Fs.readFileSync(memory).subarray(0, 4096)
      const file = Fs.openSync(memory, "r+")
      Fs.writeSync(file, page)
      Fs.closeSync(file)
      yield* refused(/its memory was changed after it was saved/)
      Fs.truncateSync(state, 100)
      yield* refused(/its state has 100 bytes, expected \d+/)
      rot(state, bytes)
      Fs.truncateSync(memory, 4096)
      yield* refused(/its memory has 4096 bytes/)
      Fs.writeFileSync(Path.join(saved.directory, "machine.json"), "{}")
      yield* refused(/machine.json is damaged/)
      assert.strictEqual(yield* box.succeed("echo alive"), "alive\n")
    })
  )

  it.effect("can be taken of a paused machine, which stays paused, twice", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.pause()
      yield* box.snapshot("paused")
      const asked = yield* Effect.forkChild(
        box.succeed("echo awake; dd if=/dev/vda of=/dev/null count=1 2>/dev/null"),
        { startImmediately: true }
      )
      yield* Effect.sleep("1 second")
      assert.isUndefined(asked.pollUnsafe())
      yield* box.snapshot("paused")
      const fork = yield* box.fork({ from: "paused" })
      assert.strictEqual(yield* fork.succeed("echo fork"), "fork\n")
      yield* fork.crash()
      yield* box.resume()
      assert.strictEqual(yield* Fiber.join(asked), "awake\n")
    })
  )

  it.effect("is taken while somebody resumes the machine, or forks it: it goes on", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const driver = yield* Driver
      yield* box.pause()
      const taking = yield* Effect.forkChild(box.snapshot("resumed"), { startImmediately: true })
      yield* Effect.sleep("60 millis")
      yield* box.resume()
      yield* Fiber.join(taking)
      assert.strictEqual(yield* box.succeed("echo on", { timeout: "1 minute" }), "on\n")
      const fork = driver.fork((machines) => machines.box?.succeed("echo fork") ?? Effect.die("there is no box"))
      const [said] = yield* Effect.all([fork, box.snapshot("meanwhile")], { concurrency: 2 })
      assert.strictEqual(said, "fork\n")
      assert.strictEqual(yield* box.succeed("echo on", { timeout: "1 minute" }), "on\n")
    })
  )
})

class Left extends Machine<Left>()("left", { image: Image.debian({}), memory: "512 MiB" }) {}
class Right extends Machine<Right>()("right", { image: Image.debian({}), memory: "512 MiB" }) {}

/** Writes what it is told over TCP into /tmp/received. */
const server = `cat >/tmp/server.pl <<'END'
use IO::Socket::INET; $| = 1;
my $listening = IO::Socket::INET->new(LocalPort => 7000, Listen => 1, ReuseAddr => 1) or die;
open my $to, ">", "/tmp/received"; $to->autoflush(1);
open my $up, ">", "/tmp/up"; close $up;
my $from = $listening->accept;
while (<$from>) { print $to $_; print $from "heard $_" }
END
perl /tmp/server.pl >/tmp/server.log 2>&1 & until [ -e /tmp/up ]; do sleep 0.1; done`

/** Counts into a connection, ten times a second. */
const client = `(exec 3<>/dev/tcp/left/7000; i=0; while :; do i=$((i + 1)); echo $i >&3; read -r said <&3; echo "$said" >>/tmp/said; sleep 0.1; done) >/tmp/client.log 2>&1 &`

/** Fails unless every number from 1 on has come once, and waits until there are ten more. */
const goesOn = Effect.fnUntraced(function* (machine: Guest) {
  const count = Effect.map(machine.succeed("awk '$1 != NR { exit 1 } END { print NR }' /tmp/received"), Number)
  const before = yield* count
  yield* machine.succeed(`until [ $(wc -l </tmp/received) -ge ${before + 10} ]; do sleep 0.2; done`, {
    timeout: "2 minutes"
  })
  return yield* count
})

/** Whether somebody who follows a guest's journal hears what is written meanwhile. */
const hearsItsJournal = Effect.fnUntraced(function* (machine: Guest) {
  const said = `said ${(yield* drawn(machine)).trim()}`
  const hearing = yield* Effect.forkChild(
    machine.journal({ lines: 0 }).pipe(
      Stream.filter(({ message }) => message === said),
      Stream.runHead,
      Effect.timeoutOption("1 minute")
    )
  )
  // Said more than once: following begins at a moment that nobody tells.
  yield* Effect.forkChild(Effect.forever(Effect.andThen(machine.succeed(`logger ${said}`), Effect.sleep("2 seconds"))))
  const heard = yield* Fiber.join(hearing)
  return heard._tag === "Some" && heard.value._tag === "Some"
})

/** Writes records one after the other as a database does: to a file beside its place, synced and renamed into it. */
const database = `cat >/tmp/database.pl <<'END'
use IO::Handle;
mkdir "/root/records"; chdir "/root/records" or die;
for (my $number = 1; ; $number++) {
  open my $file, ">", "new" or die; print $file "record $number\n" or die;
  $file->flush; $file->sync; close $file or die;
  rename "new", $number or die;
  select undef, undef, undef, 0.02;
}
END
(perl /tmp/database.pl >/tmp/database.log 2>&1 &)`

/** Fails unless each record is there that should be, and whole; waits for ten more, and gives how many there are. */
const recordsGoOn = Effect.fnUntraced(function* (machine: Guest) {
  // In one process: the records are many, and an emulated guest takes its time for each process.
  const check = `perl -e 'chdir "/root/records" or die; my ($last) = sort { $b <=> $a } grep /^[0-9]+$/, <*>;
for my $number (1 .. $last) { open my $file, "<", $number or die "no record $number of $last"; <$file> eq "record $number\\n" or die "record $number" }
print $last'`
  const before = Number(yield* machine.succeed(check))
  yield* machine.succeed(`until [ -e /root/records/${before + 10} ]; do sleep 0.1; done`, { timeout: "1 minute" })
  return Number(yield* machine.succeed(check))
})

machines(Left, Right)("snapshots of machines with systemd on a network", (it) => {
  it.effect("keep the clock of a machine that is saved again and again, also one that the test has set", () =>
    Effect.gen(function* () {
      const [left, driver] = [yield* Left, yield* Driver]
      const isAhead = Effect.fnUntraced(function* (milliseconds: number) {
        const [least, most] = yield* aheadOf(left)
        assert.isBelow(least, milliseconds + 1100)
        assert.isAbove(most, milliseconds - 1100)
      })
      // Each stops the guest for a third of a second or more.
      for (let index = 0; index < 10; index++) yield* left.snapshot("here")
      yield* isAhead(0)
      for (let index = 0; index < 5; index++) yield* driver.fork(() => Effect.void)
      yield* isAhead(0)
      const day = 24 * 60 * 60
      yield* left.succeed(`date -s @$(($(date +%s) + ${day}))`)
      for (let index = 0; index < 10; index++) yield* left.snapshot("here")
      // Rounded to seconds.
      yield* isAhead(day * 1000 - 500)
      yield* left.succeed(`date -s @$(($(date +%s) - ${day}))`)
    })
  )

  it.effect("give each fork a machine-id, a clock and entropy of its own, and a journal that goes on", () =>
    Effect.gen(function* () {
      const left = yield* Left
      yield* left.succeed("logger -t before said before the snapshot; sync")
      const snapshot = yield* left.snapshot("here")
      const id = yield* left.succeed("cat /etc/machine-id")
      const forks = yield* Effect.forEach([1, 2], () => left.fork({ from: snapshot }))
      const ids = yield* Effect.forEach(forks, (fork) => fork.succeed("cat /etc/machine-id"))
      assert.strictEqual(new Set([id, ...ids]).size, 3)
      for (const [index, fork] of forks.entries()) {
        assert.match(ids[index] ?? "", /^[0-9a-f]{32}\n$/)
        assert.strictEqual(yield* fork.succeed("hostname"), "left\n")
        assert.isBelow(yield* clockError(fork), 3)
        yield* fork.succeed("logger -t after said after the snapshot; journalctl --sync")
        const journal = yield* fork.succeed(
          "journalctl --no-pager -q -t before -t after; journalctl -q -u vmtest-shell"
        )
        assert.include(journal, "said before the snapshot")
        assert.include(journal, "said after the snapshot")
        assert.include(journal, "vmtest-shell.service")
        // A journal that begins a new file finds its folder.
        yield* fork.succeed("journalctl --rotate; logger -t after said after the rotation; journalctl --sync")
        assert.include(yield* fork.succeed("journalctl --no-pager -q -t after"), "said after the rotation")
        assert.isTrue(yield* hearsItsJournal(fork))
        // Nobody else is on its networks.
        yield* fork.fail("ping -c 1 -W 1 right")
      }
      assert.strictEqual(new Set(yield* Effect.forEach([left, ...forks], drawn)).size, 3)
      yield* left.succeed("ping -c 1 -W 20 right")
      yield* Effect.forEach(forks, (fork) => fork.crash())
    })
  )

  it.effect("let forks, and forks of these, follow a journal on a disk", () =>
    Effect.gen(function* () {
      const left = yield* Left
      yield* left.succeed("mkdir -p /var/log/journal; systemctl restart systemd-journald; journalctl --flush")
      const fork = yield* left.fork()
      assert.isTrue(yield* hearsItsJournal(fork))
      const second = yield* fork.fork()
      yield* fork.crash()
      assert.isTrue(yield* hearsItsJournal(second))
      yield* second.crash()
    })
  )

  it.effect("make a fork a machine of the network where it is asked for, SSH host keys included", () =>
    Effect.gen(function* () {
      const left = yield* Left
      const right = yield* Right
      // Instead of OpenSSH: what makes keys.
      yield* left.succeed(`mkdir -p /etc/ssh; echo old >/etc/ssh/ssh_host_ed25519_key
printf '#!/bin/sh\\n[ "$*" = "-q -t ed25519 -N  -f /etc/ssh/ssh_host_ed25519_key" ] && cat /proc/sys/kernel/random/uuid >/etc/ssh/ssh_host_ed25519_key\\n' >/usr/local/bin/ssh-keygen
chmod +x /usr/local/bin/ssh-keygen`)
      const third = yield* left.fork({ name: "third", identity: true })
      assert.strictEqual(yield* third.succeed("hostname; cat /etc/hostname"), "third\nthird\n")
      assert.deepStrictEqual(
        third.interfaces.map(({ ipv4 }) => ipv4),
        ["192.168.1.3"]
      )
      const cards = yield* third.succeed("ip -brief link show eth1; ip -brief address show eth1")
      assert.include(cards, "52:54:00:12:01:03")
      assert.include(cards, "192.168.1.3/24")
      assert.include(cards, "fe80::5054:ff:fe12:103/64")
      assert.notInclude(cards, "192.168.1.1/")
      assert.match(yield* third.succeed("cat /etc/ssh/ssh_host_ed25519_key"), /^[0-9a-f-]{36}\n$/)
      assert.strictEqual(yield* left.succeed("cat /etc/ssh/ssh_host_ed25519_key"), "old\n")
      yield* third.succeed("ping -c 1 -W 20 right; ping -c 1 -W 20 left")
      yield* right.succeed("until ping -c 1 -W 5 third; do sleep 0.5; done", { timeout: "1 minute" })
      const kept = yield* third.fork({ identity: { sshHostKeys: false }, name: "fourth" })
      assert.strictEqual(
        yield* kept.succeed("cat /etc/ssh/ssh_host_ed25519_key"),
        yield* third.succeed("cat /etc/ssh/ssh_host_ed25519_key")
      )
      yield* kept.crash()
      yield* third.crash()
    })
  )

  it.effect("leave a TCP connection between two machines as it is, here, in forks of both, and after restore", () =>
    Effect.gen(function* () {
      const driver = yield* Driver
      const left = yield* Left
      const right = yield* Right
      yield* left.succeed(server)
      yield* right.succeed(client)
      yield* goesOn(left)
      const inFork = yield* driver.fork((machines) =>
        Effect.gen(function* () {
          const there = machines.left
          if (there === undefined) return assert.fail("there is no left in the fork")
          return yield* goesOn(there)
        })
      )
      assert.isAbove(yield* goesOn(left), 20)
      assert.isAbove(inFork, 20)
      // One after the other, while nothing is on its way.
      yield* right.pause()
      yield* Effect.sleep("1 second")
      yield* left.snapshot("connected")
      yield* right.snapshot("connected")
      yield* right.resume()
      yield* goesOn(left)
      yield* right.pause()
      yield* left.restore("connected")
      yield* right.restore("connected")
      yield* goesOn(left)
    })
  )

  it.effect(
    "keep a machine that is put back who it was, and let a database write on without a gap, here and in forks",
    () =>
      Effect.gen(function* () {
        const driver = yield* Driver
        const left = yield* Left
        const who = "cat /etc/machine-id /etc/hostname; hostname"
        const before = yield* left.succeed(who)
        yield* left.succeed(database)
        yield* left.succeed("until [ -e /root/records/20 ]; do sleep 0.1; done", { timeout: "1 minute" })
        yield* left.snapshot("writing")
        const there = yield* recordsGoOn(left)
        const inFork = yield* driver.fork(({ left: there }) =>
          there === undefined ? assert.fail("there is no left in the fork") : recordsGoOn(there)
        )
        assert.isAbove(inFork, there)
        yield* left.succeed("hostname other")
        yield* left.restore("writing")
        assert.strictEqual(yield* left.succeed(who), before)
        assert.isAtLeast(yield* recordsGoOn(left), 30)
        yield* left.succeed("pkill -f database.pl")
      })
  )

  it.effect("let a timer of systemd fire that was set before", () =>
    Effect.gen(function* () {
      const left = yield* Left
      yield* left.succeed(
        "rm -f /tmp/fired; systemd-run --quiet --on-active=4 --timer-property=AccuracySec=100ms touch /tmp/fired"
      )
      yield* left.snapshot("ticking")
      yield* left.waitForFile("/tmp/fired", { timeout: "2 minutes" })
      yield* left.restore("ticking")
      yield* left.waitForFile("/tmp/fired", { timeout: "2 minutes" })
    })
  )
})
