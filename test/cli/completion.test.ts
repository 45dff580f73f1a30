import { assert, describe, it } from "@effect/vitest"
import { complete } from "../../src/cli/internal/completion.ts"

const web = { succeed: () => undefined, succeedWith: () => undefined, name: "web", interfaces: [] }
/** As those of a driver: a name that it has not throws. */
const machines = new Proxy(
  { web, "web-2": web },
  {
    get: (target, key) => {
      if (!(key in target)) throw new TypeError("no such machine")
      return Reflect.get(target, key)
    }
  }
)
const commands = [{ name: "shell", words: () => ["web", "client"] }, { name: "screen" }]
const found = (line: string) => complete(line, [{ web, machines }], commands)

describe("Tab at the prompt", () => {
  it("completes methods of machines, wherever the line names one", () => {
    assert.deepStrictEqual(found("web.succ"), [["web.succeed", "web.succeedWith"], "web.succ"])
    assert.deepStrictEqual(found("yield* web.na"), [["web.name"], "web.na"])
    assert.deepStrictEqual(found("f(machines.web.int"), [["machines.web.interfaces"], "machines.web.int"])
    assert.deepStrictEqual(found('machines["web-2"].na'), [['machines["web-2"].name'], 'machines["web-2"].na'])
  })

  it("completes commands, and their machines", () => {
    assert.deepStrictEqual(found(".s"), [[".shell", ".screen"], ".s"])
    assert.deepStrictEqual(found(".shell "), [["web", "client"], ""])
    assert.deepStrictEqual(found(".shell c"), [["client"], "c"])
  })

  it("leaves the rest to Node, and is not disturbed by objects that throw", () => {
    for (const line of ["", "we", "nobody.f", "machines.nobody.f", "web.nothing", "1."]) assert.isUndefined(found(line))
  })
})
