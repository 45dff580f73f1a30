import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Decode from "../../src/host/Decode.ts"
import * as NetworkSpec from "../../src/network/NetworkSpec.ts"

const problem = (networks: unknown) => Decode.checker(NetworkSpec.Networks, { whole: "networks" })(networks)?.reason
const numbers = (networks: NetworkSpec.Networks) =>
  Object.fromEntries((NetworkSpec.resolve(networks) ?? []).map(({ name, vlan }) => [name, vlan]))

describe("the networks of a test", () => {
  it("have defaults", () => {
    assert.deepStrictEqual(NetworkSpec.resolve({ lan: {} }), [
      { name: "lan", vlan: 1, mtu: undefined, hub: false, fabric: undefined }
    ])
    assert.deepStrictEqual(NetworkSpec.resolve({ dmz: { vlan: 7, mtu: 9000, hub: true, fabric: "bridge" } }), [
      { name: "dmz", vlan: 7, mtu: 9000, hub: true, fabric: "bridge" }
    ])
  })

  it("have the lowest numbers that the others leave, in the order of their declaration", () => {
    assert.deepStrictEqual(numbers({ z: {}, a: { vlan: 2 }, m: {}, b: { vlan: 1 } }), { z: 3, a: 2, m: 4, b: 1 })
    const all = Object.fromEntries(Array.from({ length: 254 }, (_, index) => [`n${index}`, {}]))
    assert.deepStrictEqual(new Set(Object.values(numbers(all))).size, 254)
    assert.strictEqual(numbers(all).n253, 254)
  })

  it("are all VLANs if none is declared", () => {
    assert.isUndefined(NetworkSpec.resolve(undefined))
    const any = { name: undefined, vlan: 200, mtu: undefined, hub: false, fabric: undefined } as const
    assert.deepStrictEqual(NetworkSpec.of(undefined, 200), any)
    assert.deepStrictEqual(NetworkSpec.find(undefined, 200), Result.succeed(any))
  })

  it("are the same when they are declared as what they were resolved to", () => {
    const resolved = NetworkSpec.resolve({ lan: {}, dmz: { vlan: 7, mtu: 9000 } })!
    assert.deepStrictEqual(NetworkSpec.resolve(NetworkSpec.declarationOf(resolved)), resolved)
  })

  it("are found by name and by number", () => {
    const networks = NetworkSpec.resolve({ lan: {}, dmz: { vlan: 7 } })
    for (const which of ["dmz", 7]) assert.strictEqual(Result.getOrThrow(NetworkSpec.find(networks, which)).name, "dmz")
  })

  for (const [declared, which, words] of [
    [{ lan: {} }, "lna", 'unknown network "lna"; did you mean "lan"?'],
    [{ lan: {}, dmz: { vlan: 7 } }, "office", 'unknown network "office"; the networks are lan (1), dmz (7)'],
    [{ lan: {}, dmz: { vlan: 7 } }, 2, "unknown network 2; the networks are lan (1), dmz (7)"],
    [{}, 1, "unknown network 1; the test declares none"],
    [undefined, "lan", 'unknown network "lan"; the test must declare it: networks: { "lan": {} }']
  ] as const) {
    it(`refuse ${JSON.stringify(which)} of ${JSON.stringify(declared)}`, () => {
      assert.deepStrictEqual(NetworkSpec.find(NetworkSpec.resolve(declared), which), Result.fail(words))
    })
  }

  for (const [declared, words] of [
    [["lan"], "networks must be an object of names and networks, such as { lan: {}, dmz: { vlan: 7 } }"],
    [{ lan: 7 }, "lan must be an object { vlan?, mtu?, hub?, fabric? }, got 7"],
    [{ lan: { vlan: 0 } }, "lan.vlan must be a whole number from 1 to 254, got 0"],
    [{ lan: { vlan: 255 } }, "lan.vlan must be a whole number from 1 to 254, got 255"],
    [{ lan: { vlan: "7" } }, 'lan.vlan must be a whole number from 1 to 254, got "7"'],
    [{ lan: { mtu: 67 } }, "lan.mtu must be a whole number of bytes from 68 to 65521, got 67"],
    [{ lan: { mtu: 65522 } }, "lan.mtu must be a whole number of bytes from 68 to 65521, got 65522"],
    [{ lan: { mtu: 1500.5 } }, "lan.mtu must be a whole number of bytes"],
    [{ lan: { hub: "yes" } }, 'lan.hub must be true or false, got "yes"'],
    [{ lan: { fabric: "vde" } }, 'lan.fabric must be "switch" or "bridge", got "vde"'],
    [{ lan: { mtuu: 9000 } }, 'unknown option "mtuu" of lan; did you mean "mtu"?'],
    [{ lan: { tag: 7 } }, 'unknown option "tag" of lan; did you mean "vlan"?'],
    [{ a: { vlan: 7 }, b: { vlan: 7 } }, "b.vlan must be a number that no other network has, got 7, which a has"],
    [
      { "7": {} },
      "networks must have names of letters, digits and inner hyphens and underscores, at most 63 characters"
    ],
    [{ "my lan": {} }, 'and not only digits, got "my lan"'],
    [{ "": {} }, 'and not only digits, got ""'],
    [
      Object.fromEntries(Array.from({ length: 255 }, (_, index) => [`n${index}`, {}])),
      "networks must be at most 254, got 255"
    ]
  ] as const) {
    it(`are refused: ${words}`, () => {
      assert.include(problem(declared), words)
    })
  }
})
