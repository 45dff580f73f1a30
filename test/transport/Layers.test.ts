/** Each way to a guest as a layer, and the shell as one, on played guests. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { virtConsole } from "../../src/transport/GuestChannel.ts"
import * as Shell from "../../src/transport/Shell.ts"
import { Transport } from "../../src/transport/Transport.ts"
import * as VirtConsole from "../../src/transport/VirtConsole.ts"
import * as VirtioPort from "../../src/transport/VirtioPort.ts"
import * as Vsock from "../../src/transport/Vsock.ts"
import { play, playVsock } from "./guest.ts"

const machine = "vm"

/** A program that knows nothing of the way to its guest. */
const program = Effect.gen(function* () {
  const shell = yield* Shell.Shell
  return { machine: shell.machine, said: (yield* shell.execute("a")).stdout }
})

const answered = { machine, said: "ran a\n" }

/** What a layer of a transport is named, and what a shell over it gives to the program. */
const over = (transport: Layer.Layer<Transport, unknown>) =>
  Effect.gen(function* () {
    const { name } = yield* Transport
    return { name, ...(yield* Effect.provide(program, Shell.layerFromTransport({ bootTimeout: "5 seconds" }))) }
  }).pipe(Effect.provide(transport))

describe("as a layer", () => {
  it.live("the shell of a channel gives commands", () =>
    Effect.gen(function* () {
      const { channel } = yield* play({})
      const { channel: other } = yield* playVsock({})
      const options = { machine, bootTimeout: "5 seconds" } as const
      for (const shell of [
        Shell.layer({ ...options, channel }),
        Shell.layer({ ...options, channel: other }),
        Shell.layer({ ...options, channel: virtConsole({ socket: channel.bootstrap, ports: channel.ports }) })
      ]) {
        assert.deepStrictEqual(yield* Effect.provide(program, shell), answered)
      }
    })
  )

  it.live("virtio ports carry a shell", () =>
    Effect.gen(function* () {
      const { channel } = yield* play({})
      const got = yield* over(VirtioPort.layer({ machine, channel }))
      assert.deepStrictEqual(got, { name: "virtio-port", ...answered })
    })
  )

  it.live("vsock carries a shell", () =>
    Effect.gen(function* () {
      const { channel } = yield* playVsock({})
      assert.deepStrictEqual(yield* over(Vsock.layer({ machine, channel })), { name: "vsock", ...answered })
    })
  )

  it.live("a console with ports carries a shell", () =>
    Effect.gen(function* () {
      const { bootstrap, ports } = (yield* play({})).channel
      const got = yield* over(VirtConsole.layer({ machine, channel: virtConsole({ socket: bootstrap, ports }) }))
      assert.deepStrictEqual(got, { name: "virtconsole", ...answered })
    })
  )

  it.live("closes what it opened with its scope, so that another can be opened", () =>
    Effect.gen(function* () {
      const { channel } = yield* playVsock({})
      for (let i = 0; i < 3; i++) {
        assert.deepInclude(yield* over(Vsock.layer({ machine, channel })), answered)
      }
    })
  )

  it.live("fails as the shell does that it makes", () =>
    Effect.gen(function* () {
      const { channel } = yield* play({ typed: () => true })
      const error = yield* Effect.flip(
        Effect.provide(program, Shell.layer({ machine, channel, bootTimeout: "300 millis" }))
      )
      assert.deepInclude(error, { _tag: "ShellNotReady", machine })
    })
  )
})
