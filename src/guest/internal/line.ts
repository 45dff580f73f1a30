/** Line editing on the host, for a shell without a terminal. */

/** What a key does. */
export type Act =
  | { readonly _tag: "Echo"; readonly text: string }
  | { readonly _tag: "Send"; readonly text: string }
  | { readonly _tag: "Interrupt" }
  | { readonly _tag: "End" }

const erase = "\b \b"

/** Knows Backspace, Ctrl-U, Ctrl-C and Ctrl-D. Keys that send escape sequences (arrows) do nothing. */
export class Line {
  private line = ""
  private readonly decoder = new TextDecoder()

  take(bytes: Uint8Array): ReadonlyArray<Act> {
    const text = this.decoder.decode(bytes, { stream: true })
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is taken out
    return [...text.replace(/\u001b(\[[0-9;?]*[ -/]*[@-~]|O.|.)?/g, "")].flatMap((key) => this.key(key))
  }

  private key(key: string): ReadonlyArray<Act> {
    switch (key) {
      case "\r":
      case "\n": {
        const text = `${this.line}\n`
        this.line = ""
        return [
          { _tag: "Echo", text: "\r\n" },
          { _tag: "Send", text }
        ]
      }
      case "\u007f":
      case "\b": {
        if (this.line === "") return []
        this.line = [...this.line].slice(0, -1).join("")
        return [{ _tag: "Echo", text: erase }]
      }
      case "\u0015": {
        const text = erase.repeat([...this.line].length)
        this.line = ""
        return [{ _tag: "Echo", text }]
      }
      case "\u0003":
        this.line = ""
        return [{ _tag: "Echo", text: "^C\r\n" }, { _tag: "Interrupt" }]
      case "\u0004":
        return this.line === "" ? [{ _tag: "End" }] : []
      default:
        if (key < " ") return []
        this.line += key
        return [{ _tag: "Echo", text: key }]
    }
  }
}
