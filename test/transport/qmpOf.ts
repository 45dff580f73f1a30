import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { QmpFailure, QmpService } from "../../src/transport/qmp/Qmp.ts"

/** A QEMU that answers commands so, and has no events. */
export const qmpOf = (
  answer: (command: string, args: Readonly<Record<string, unknown>>) => Effect.Effect<unknown, QmpFailure>
): QmpService => {
  function execute(command: string, args?: Readonly<Record<string, unknown>>): Effect.Effect<unknown, QmpFailure>
  function execute<A>(
    command: string,
    args: Readonly<Record<string, unknown>> | undefined,
    schema: Schema.Decoder<A>
  ): Effect.Effect<A, QmpFailure>
  function execute<A>(command: string, args: Readonly<Record<string, unknown>> = {}, schema?: Schema.Decoder<A>) {
    const answered = answer(command, args)
    if (schema === undefined) return answered
    return Effect.flatMap(answered, (value) => Effect.orDie(Schema.decodeUnknownEffect(schema)(value)))
  }
  return {
    machine: "box",
    version: "7.2.22",
    execute,
    events: Stream.never,
    waitForEvent: () => Effect.never,
    hmp: () => Effect.succeed(""),
    closed: Effect.never
  }
}
