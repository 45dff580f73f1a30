import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { findTool } from "../../src/host/internal/tools.ts"
import * as Capture from "../../src/network/Capture.ts"
import { titled } from "../needs.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-test-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
)

const frameOf = (text: string, size = 60) => {
  const frame = Buffer.alloc(size)
  frame.set(Buffer.from("ffffffffffff52540012010188b5", "hex"))
  frame.write(text, 14)
  return frame
}

const packet = (from: string, text: string, more: Partial<Capture.Packet> = {}): Capture.Packet => ({
  ...{ time: 1_800_000_000_123_456_789n, from, fate: "passed", frame: frameOf(text) },
  ...more
})

interface Block {
  readonly type: number
  readonly body: Buffer
}

/** The blocks of a file, whose lengths must agree. */
const blocksOf = (file: Buffer): ReadonlyArray<Block> => {
  const blocks: Array<Block> = []
  for (let at = 0; at < file.length; ) {
    const length = file.readUInt32LE(at + 4)
    assert.strictEqual(length % 4, 0)
    assert.strictEqual(file.readUInt32LE(at + length - 4), length)
    blocks.push({ type: file.readUInt32LE(at), body: file.subarray(at + 8, at + length - 4) })
    at += length
  }
  return blocks
}

const optionsOf = (body: Buffer, from: number): ReadonlyMap<number, Buffer> => {
  const options = new Map<number, Buffer>()
  for (let at = from; at + 4 <= body.length; ) {
    const [code, length] = [body.readUInt16LE(at), body.readUInt16LE(at + 2)]
    if (code === 0) break
    options.set(code, body.subarray(at + 4, at + 4 + length))
    at += 4 + ((length + 3) & ~3)
  }
  return options
}

const write = Effect.fnUntraced(function* (
  packets: ReadonlyArray<Capture.Packet>,
  more: Partial<Capture.CaptureFileOptions> = {}
) {
  const output = yield* temporary
  const problems: Array<string> = []
  yield* Effect.scoped(
    Effect.gen(function* () {
      const file = yield* Capture.file({ output, name: "lan.pcapng", title: "lan", ...more }, (problem) =>
        Effect.sync(() => problems.push(problem))
      )
      for (const one of packets) file.write(one)
    })
  )
  const path = Path.join(output, "lan.pcapng")
  return { path, problems, blocks: blocksOf(Fs.readFileSync(path)) } as const
})

describe("a capture file", () => {
  it.live("has each card once, and each packet whole, with its time, direction and what became of it", () =>
    Effect.gen(function* () {
      const { blocks, problems } = yield* write([
        packet("a eth1", "one"),
        packet("b eth1", "two", { fate: "lost" }),
        packet("api", "three", { fate: "full", frame: frameOf("three", 61) }),
        packet("a eth1", "four")
      ])
      assert.deepStrictEqual(problems, [])
      assert.deepStrictEqual(
        blocks.map(({ type }) => type),
        [0x0a0d0d0a, 1, 6, 1, 6, 1, 6, 6]
      )
      const cards = blocks.filter(({ type }) => type === 1).map(({ body }) => optionsOf(body, 8))
      assert.deepStrictEqual(
        cards.map((options) => [String(options.get(2)), String(options.get(3)), options.get(9)?.[0]]),
        [
          ["a eth1", "the card eth1 of a", 9],
          ["b eth1", "the card eth1 of b", 9],
          ["api", "the host service api", 9]
        ]
      )
      const packets = blocks
        .filter(({ type }) => type === 6)
        .map(({ body }) => {
          const length = body.readUInt32LE(12)
          const options = optionsOf(body, 20 + ((length + 3) & ~3))
          assert.strictEqual(options.get(2)?.readUInt32LE(0), 2)
          const time = (BigInt(body.readUInt32LE(4)) << 32n) + BigInt(body.readUInt32LE(8))
          assert.strictEqual(time, 1_800_000_000_123_456_789n)
          return [body.readUInt32LE(0), length, body.toString("latin1", 34, 37), options.get(1)?.toString()]
        })
      assert.deepStrictEqual(packets, [
        [0, 60, "one", undefined],
        [1, 60, "two", "lost by the impairment of b eth1"],
        [2, 61, "thr", "lost by the impairment of api: the queue for its rate was full"],
        [0, 60, "fou", undefined]
      ])
    })
  )

  it.live("leaves packets out rather than grow without bound, and counts them", () =>
    Effect.gen(function* () {
      const many = Array.from({ length: 100 }, (_, index) => packet("a eth1", `${index}`))
      const { blocks, problems } = yield* write(many, { mostPending: 2000 })
      const kept = blocks.filter(({ type }) => type === 6).length
      assert.isAtLeast(kept, 10)
      assert.isBelow(kept, 30)
      assert.lengthOf(problems, 1)
      assert.include(problems[0]!, `lan.pcapng: ${100 - kept} packets are missing, because the disk was slower`)
    })
  )

  it.live("has the count of a gap in the packet after it", () =>
    Effect.gen(function* () {
      const output = yield* temporary
      yield* Effect.scoped(
        Effect.gen(function* () {
          const file = yield* Capture.file({ output, name: "a", title: "", mostPending: 400 }, () => Effect.void)
          for (let index = 0; index < 10; index++) file.write(packet("a eth1", `${index}`))
          yield* Effect.sleep("100 millis")
          file.write(packet("a eth1", "after"))
        })
      )
      const packets = blocksOf(Fs.readFileSync(Path.join(output, "a"))).filter(({ type }) => type === 6)
      const gap = optionsOf(packets.at(-1)!.body, 80).get(4)?.readBigUInt64LE(0)
      assert.strictEqual(gap, BigInt(10 - (packets.length - 1)))
    })
  )

  it.live("can be read while it is written", () =>
    Effect.gen(function* () {
      const output = yield* temporary
      const file = yield* Capture.file({ output, name: "a", title: "" }, () => Effect.void)
      file.write(packet("a eth1", "one"))
      const blocks = Effect.sync(() => blocksOf(Fs.readFileSync(Path.join(output, "a"))).length)
      const written = blocks.pipe(
        Effect.repeat({ schedule: Schedule.spaced("10 millis"), until: (count) => count === 3 })
      )
      assert.strictEqual(yield* Effect.timeout(written, "10 seconds"), 3)
    })
  )

  it.live("replaces a file or a link of its name, and is made where nothing leads out of the folder", () =>
    Effect.gen(function* () {
      const output = yield* temporary
      const [target, link] = [Path.join(output, "precious"), Path.join(output, "lan.pcapng")]
      Fs.writeFileSync(target, "precious")
      Fs.symlinkSync(target, link)
      const scope = yield* Scope.make()
      yield* Scope.provide(
        Capture.file({ output, name: "lan.pcapng", title: "" }, () => Effect.void),
        scope
      )
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(Fs.readFileSync(target, "utf8"), "precious")
      assert.isFalse(Fs.lstatSync(link).isSymbolicLink())
      Fs.writeFileSync(Path.join(output, "file"), "")
      const failed = yield* Effect.flip(
        Capture.file({ output: Path.join(output, "file"), name: "a", title: "" }, () => Effect.void)
      )
      assert.match(failed, /^could not capture packets to .*\/file\/a, which /)
    })
  )

  const capinfos = findTool("capinfos", process.env.PATH)
  it.live.skipIf(capinfos === undefined)(
    titled("is one that Wireshark reads", capinfos === undefined ? "capinfos is not installed" : undefined),
    () =>
      Effect.gen(function* () {
        const { path } = yield* write([packet("a eth1", "one"), packet("b eth1", "two", { fate: "lost" })])
        const said = execFileSync(capinfos!, [path], { encoding: "utf8" })
        assert.match(said, /Number of packets:\s+2\n/)
        assert.match(said, /Number of interfaces in file:\s+2\n/)
        assert.match(said, /Name = b eth1/)
        assert.match(said, /Capture comment:\s+lan/)
      })
  )
})
