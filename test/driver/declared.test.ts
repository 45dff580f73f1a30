import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { test } from "../../src/driver/TestCase.ts"
import * as Image from "../../src/images/Image.ts"

describe("a test's declaration", () => {
  const problem = (options: unknown) => test("t", options as object, () => Effect.void).problem

  for (const [what, options, words] of [
    ["NixOS's nodes", { nodes: {} }, 'unknown option "nodes"; did you mean "machines"?'],
    ["a misspelt time", { waitTimout: "1 second" }, 'unknown option "waitTimout"; did you mean "waitTimeout"?'],
    [
      "an array of machines",
      { machines: [{ image: Image.tiny() }] },
      "machines must be an object of names and declarations, such as { machines: {"
    ],
    ["a name for machines", { machines: "web" }, 'Image.tiny() } } }, got "web"'],
    ["no options", undefined, "the options must be an object of options, such as { machines"],
    ["its body in their place", () => Effect.void, "or {} for no machines, got"]
  ] as const) {
    it(`is refused for ${what}`, () => assert.include(problem(options) ?? "nothing", words))
  }

  for (const [name, words] of [
    ["", 'the name must be a string that is not blank, got ""'],
    [" \n", "the name must be a string that is not blank"],
    [undefined, "the name must be a string that is not blank, got undefined"],
    [{ machines: {} }, "the name must be a string that is not blank, got { machines: {} }"]
  ] as const) {
    it(`is refused for the name ${JSON.stringify(name)}`, () => {
      const declared = test(name as string, {}, () => Effect.void)
      assert.include(declared.problem ?? "nothing", words)
      assert.isString(declared.name)
    })
  }

  it("may leave out all of them", () => assert.strictEqual(problem({}), undefined))

  for (const [what, body, words] of [
    [
      "no body",
      undefined,
      "the body must be a function that returns an Effect, got undefined; write ({ web }) => Effect.gen(function* () { … })"
    ],
    [
      "a body that is no function",
      "ls",
      'the body must be a function that returns an Effect, got "ls"; write ({ web }) =>'
    ],
    [
      "an Effect for a body",
      Effect.void,
      "the body must be a function that returns an Effect, got an Effect; put () => in front of it"
    ],
    [
      "an async body",
      async () => {},
      "the body must return an Effect, got an async function; write ({ web }) => Effect.gen"
    ],
    [
      "a generator for a body",
      function* () {},
      "the body must return an Effect, got a generator function; write ({ web }) => Effect.gen"
    ]
  ] as const) {
    it(`is refused for ${what}`, () => assert.include(test("t", {}, body as never).problem ?? "nothing", words))
  }
})
