import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { earlyScript, fork, hostsScript, identityScript, restore } from "../../src/machine/internal/identity.ts"
import * as Addresses from "../../src/network/Addresses.ts"

const nodes = Addresses.assign([
  { name: "web", vlans: [1, 2] },
  { name: "it-s", vlans: [] },
  { name: "bare", vlans: [{ vlan: 1, ipv4: "none", ipv6: "none" }, 1] },
  { name: "xl", vlans: [{ vlan: 1, mac: "52:54:00:AA:00:01", ipv4: "10.0.0.1/8", ipv6: "fd00::1/48" }] }
]) as ReadonlyArray<Addresses.AddressedNode>

describe("the script that gives a guest its identity", () => {
  for (const [index, node] of nodes.entries()) {
    for (const shell of ["sh", "bash"]) {
      it(`is valid for ${shell} (${node.name}, ${index % 2 === 0 ? "with" : "without"} internet)`, () => {
        const identity = { self: node, all: nodes, internet: index % 2 === 0 }
        execFileSync(shell, ["-n"], { input: identityScript(identity) })
        execFileSync(shell, ["-n"], { input: earlyScript({ ...identity, keyboardLayout: undefined }) })
      })
    }
  }

  it("names the machine and its peers, and checks the addresses at the end", () => {
    const web = nodes.find(({ name }) => name === "web")!
    const script = identityScript({ self: web, all: nodes, internet: false })
    assert.include(script, "echo web > /proc/sys/kernel/hostname")
    assert.include(script, "192.168.1.3 web")
    assert.include(script, "addresses='192.168.1.3 192.168.2.3'")
    assert.include(script, 'addresses="$addresses 2001:db8:1::3 2001:db8:2::3"')
  })

  it("sets and checks the addresses that are declared, and no others", () => {
    const of = (name: string) => ({ self: nodes.find((node) => node.name === name)!, all: nodes, internet: false })
    const [early, late] = [earlyScript({ ...of("xl"), keyboardLayout: undefined }), identityScript(of("xl"))]
    for (const [script, ...commands] of [
      [early, "ifconfig eth1 10.0.0.1 netmask 255.0.0.0 up ${vm_6:+add fd00::1/48}"],
      [late, "10.0.0.1/8 dev eth1", "fd00::1/48 dev eth1"]
    ] as const) {
      for (const command of commands) assert.include(script, command)
      assert.notInclude(script, "192.168.1.4")
    }
    assert.include(late, '[ "$vm_mac" = 52:54:00:aa:00:01 ]')
    assert.include(late, "addresses=10.0.0.1\n")
    for (const [script, command] of [
      [earlyScript({ ...of("bare"), keyboardLayout: undefined }), "ifconfig eth2 up"],
      [identityScript(of("bare")), "link set dev eth2 up"]
    ] as const) {
      assert.notInclude(script, "undefined")
      assert.include(script, command)
    }
  })
})

describe("the names of the machines in a guest's /etc/hosts", () => {
  const web = nodes.find(({ name }) => name === "web")!
  const block = (all = nodes) => `# vmtest: the machines of this test\n${Addresses.hosts(all, web)}# vmtest: end\n`

  for (const shell of ["dash", "bash"]) {
    it(`are a block among lines that stay (${shell})`, () => {
      const file = Path.join(Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-hosts-")), "hosts")
      const write = (all = nodes) => {
        execFileSync(shell, ["-eu"], { input: hostsScript(web, all).replaceAll("/etc/hosts", file) })
        return Fs.readFileSync(file, "utf8")
      }
      assert.strictEqual(write(), block())
      Fs.writeFileSync(file, "127.0.0.1 localhost\n\n # a \\ b  'c' $HOME\n127.0.1.1 image")
      const theirs = "\n # a \\ b  'c' $HOME\n127.0.1.1 image\n"
      assert.strictEqual(write([web]), `${block([web])}${theirs}`)
      assert.strictEqual(write(), `${block()}${theirs}`)
      Fs.writeFileSync(file, `10.0.0.9 web\n${Fs.readFileSync(file, "utf8")}10.0.0.8 custom\n`)
      assert.strictEqual(write([web]), `10.0.0.9 web\n${block([web])}${theirs}10.0.0.8 custom\n`)
      assert.strictEqual(write([web]), `10.0.0.9 web\n${block([web])}${theirs}10.0.0.8 custom\n`)
      Fs.rmSync(Path.dirname(file), { recursive: true })
    })
  }
})

describe("the script that makes a fork a machine of its own", () => {
  const scriptOf = (newHostKeys: boolean) => {
    const scripts: Array<string> = []
    const run = (script: string) =>
      Effect.sync(() => {
        scripts.push(script)
        return { exitCode: 0, stdout: "", stderr: "" }
      })
    Effect.runSync(fork(run, { self: nodes[0]!, all: nodes, internet: false }, { newHostKeys }))
    return scripts.join("\n")
  }

  for (const shell of ["sh", "bash"]) {
    it(`is valid for ${shell}`, () => {
      execFileSync(shell, ["-n"], { input: scriptOf(true) })
    })

    it(`makes SSH host keys of the kinds that there are, under its own name (${shell})`, () => {
      const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-keys-"))
      const keys = /for vm_k in[\s\S]*?\ndone\n/.exec(scriptOf(true))![0].replaceAll("/etc/ssh", folder)
      Fs.writeFileSync(Path.join(folder, "ssh_host_ed25519_key"), "old")
      Fs.writeFileSync(Path.join(folder, "ssh_host_ed25519_key.pub"), "old")
      // Instead of OpenSSH: what makes keys.
      const bin = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-bin-"))
      Fs.writeFileSync(Path.join(bin, "ssh-keygen"), '#!/bin/sh\necho "$3" >"$7"\n', { mode: 0o755 })
      execFileSync(shell, ["-s"], { input: keys, env: { ...process.env, PATH: `${bin}:${process.env.PATH}` } })
      Fs.rmSync(bin, { recursive: true })
      const made = Fs.readdirSync(folder).map((name) => [name, Fs.readFileSync(Path.join(folder, name), "utf8")])
      Fs.rmSync(folder, { recursive: true })
      assert.deepStrictEqual(made, [["ssh_host_ed25519_key", "ed25519\n"]])
      const script = scriptOf(true)
      assert.isBelow(script.indexOf("/proc/sys/kernel/hostname"), script.indexOf("ssh-keygen"))
    })
  }

  it("leaves the SSH host keys alone unless it is asked to", () => {
    assert.notInclude(scriptOf(false), "ssh")
  })
})

describe("a guest that is told the time", () => {
  /** Takes so many milliseconds for each script, the last for all that follow, and keeps them. */
  const busy = (...times: ReadonlyArray<number>) => {
    const scripts: Array<string> = []
    const run = (script: string) =>
      Effect.suspend(() => {
        scripts.push(script)
        const result = { exitCode: 0, stdout: "", stderr: "" }
        return Effect.delay(Effect.succeed(result), times[Math.min(scripts.length, times.length) - 1] ?? 0)
      })
    return { scripts, run }
  }
  const settled = <A, E>(effect: Effect.Effect<A, E>) =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(effect)
      for (let second = 0; second < 60; second++) yield* TestClock.adjust("1 second")
      return yield* Fiber.join(fiber)
    })

  it.effect("is told it again, and nothing else, until it has heard it in time", () =>
    Effect.gen(function* () {
      const identity = { self: nodes[0]!, all: nodes, internet: false }
      const { run, scripts } = busy(5000, 3000, 500)
      yield* settled(fork(run, identity, { newHostKeys: true }))
      assert.lengthOf(scripts, 3)
      assert.include(scripts[0], "machine-id")
      for (const script of scripts.slice(1)) {
        assert.include(script, "vmtest-renew")
        assert.notMatch(script, /machine-id|hostname|ssh/)
      }
      // Each time it is another time.
      assert.lengthOf(new Set(scripts.map((script) => /printf %b '([^']*)'/.exec(script)?.[1])), 3)
    })
  )

  it.effect("is told it once where it is quick, and not for ever where it is always slow", () =>
    Effect.gen(function* () {
      const quick = busy(500)
      yield* settled(restore(quick.run))
      assert.lengthOf(quick.scripts, 1)
      const slow = busy(2000)
      const result = yield* settled(restore(slow.run))
      assert.strictEqual(result.exitCode, 0)
      assert.lengthOf(slow.scripts, 5)
    })
  )
})
