import { execFileSync } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import { identityScript } from "../../src/machine/internal/identity.ts"
import * as Addresses from "../../src/network/Addresses.ts"

const nodes = Addresses.assign([
  { name: "web", vlans: [1, 2] },
  { name: "it-s", vlans: [] }
]) as ReadonlyArray<Addresses.AddressedNode>

describe("the script that gives a guest its identity", () => {
  for (const [index, node] of nodes.entries()) {
    for (const shell of ["sh", "bash"]) {
      it(`is valid for ${shell} (${node.name}, ${index % 2 === 0 ? "with" : "without"} internet)`, () => {
        const script = identityScript({ self: node, all: nodes, internet: index % 2 === 0 })
        execFileSync(shell, ["-n"], { input: script })
      })
    }
  }

  it("names the machine and its peers, and checks the addresses at the end", () => {
    const web = nodes.find(({ name }) => name === "web")!
    const script = identityScript({ self: web, all: nodes, internet: false })
    assert.include(script, "echo 'web' > /proc/sys/kernel/hostname")
    assert.include(script, "192.168.1.2 web")
    assert.include(script, "addresses='192.168.1.2 192.168.2.2'")
    assert.include(script, 'addresses="$addresses 2001:db8:1::2 2001:db8:2::2"')
  })
})
