import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { test } from "../../src/driver/TestCase.ts"
import * as Image from "../../src/images/Image.ts"

describe("a test's declaration", () => {
  const problem = (options: unknown) => test("t", options as object, () => Effect.void).problem

  for (const [what, options, words] of [
    ["NixOS's nodes", { nodes: {} }, "its nodes is not known here; the nearest is machines, of machines, timeout"],
    ["a misspelt time", { waitTimout: "1 second" }, "the nearest is waitTimeout,"],
    ["an array of machines", { machines: [{ image: Image.tiny() }] }, "its machines are an array; an object of names"],
    ["a name for machines", { machines: "web" }, "its machines are a string"],
    ["no options", undefined, "its options are no object such as { machines"],
    ["its body in their place", () => Effect.void, "it has no options before its body"]
  ] as const) {
    it(`is refused for ${what}`, () => assert.include(problem(options) ?? "nothing", words))
  }

  it("may leave out all of them", () => assert.strictEqual(problem({}), undefined))

  for (const [what, body, words] of [
    ["no body", undefined, "it has no body; write ({ web }) => Effect.gen(function* () { … })"],
    ["a body that is no function", "ls", "its body is no function; write ({ web }) =>"],
    [
      "an Effect for a body",
      Effect.void,
      "its body is an Effect, and no function that gives one; put () => in front of it"
    ],
    ["an async body", async () => {}, "its body is async; write ({ web }) => Effect.gen"],
    ["a generator for a body", function* () {}, "its body is a generator function; write ({ web }) => Effect.gen"]
  ] as const) {
    it(`is refused for ${what}`, () => assert.include(test("t", {}, body as never).problem ?? "nothing", words))
  }
})
