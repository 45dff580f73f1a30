/** The options of the Debian image with an X server, for those who build it and those who boot it. */
export const desk = {
  packages: ["xvfb", "xdotool", "x11-utils", "x11-apps", "xterm", "fonts-dejavu-core"],
  units: { "screen.service": "[Service]\nExecStart=Xvfb :0 -screen 0 640x400x24\n" }
}
