import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Qmp from "../../src/transport/qmp/Qmp.ts"
import * as Shell from "../../src/transport/Shell.ts"
import { collectSpans } from "../spans.ts"
import { play } from "./guest.ts"
import { folder, lines, serve } from "./peer.ts"

const attributesOf = (spans: ReturnType<ReturnType<typeof collectSpans>["named"]>) =>
  spans.map(({ attributes }) => [...attributes])

describe("a trace", () => {
  it.live("has the connecting of a shell, and the lane of each command on the span of the method that runs it", () => {
    const { collect, named } = collectSpans()
    return Effect.gen(function* () {
      const { channel } = yield* play({})
      const shell = yield* Shell.make({ machine: "web", channel })
      yield* Effect.withSpan(shell.execute("true"), "vmtest.execute")
      yield* Effect.withSpan(shell.execute("true"), "mine")
      assert.deepStrictEqual(attributesOf(named("vmtest.shell.connect")), [
        [
          ["vmtest.machine", "web"],
          ["vmtest.transport", "virtio-port"]
        ]
      ])
      assert.deepStrictEqual(attributesOf(named("vmtest.execute")), [[["vmtest.lane", 1]]])
      assert.deepStrictEqual(attributesOf(named("mine")), [[]])
    }).pipe(Effect.scoped, collect)
  })

  it.live("has every command of QMP", () => {
    const { collect, named } = collectSpans()
    return Effect.gen(function* () {
      const socket = join(yield* folder, "qmp")
      yield* serve(socket, (peer) => {
        peer.write('{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 1}}}}\n')
        lines(peer, (line) => peer.write(`${JSON.stringify({ return: {}, id: JSON.parse(line).id })}\n`))
      })
      const qmp = yield* Qmp.make({ machine: "web", socket })
      yield* qmp.execute("cont")
      assert.deepStrictEqual(attributesOf(named("vmtest.qmp")), [
        [
          ["vmtest.machine", "web"],
          ["vmtest.qmp.command", "qmp_capabilities"]
        ],
        [
          ["vmtest.machine", "web"],
          ["vmtest.qmp.command", "cont"]
        ]
      ])
    }).pipe(Effect.scoped, collect)
  })
})
