# What sets the keymap of a guest's console, for x86-64 Linux without any library.
#
#   keyboard >/dev/tty0
#
# Behind the program are the keys: struct kbentry { u8 kb_table; u8 kb_index; u16 kb_value; }, until kb_value is 0xffff. Exit status: 1 if one of
# them could not be set.
#
# The bytes are in keyboard.ts:  as keyboard.s -o keyboard.o && objcopy -O binary -j .text keyboard.o keyboard.bin && base64 -w0 keyboard.bin
.intel_syntax noprefix
.globl _start
_start:
  lea  rbx, [rip + keys]
  xor  r12d, r12d            # exit status
1:
  cmp  word ptr [rbx + 2], -1
  je   9f
  mov  eax, 16               # ioctl(1, KDSKBENT, key)
  mov  edi, 1
  mov  esi, 0x4b47
  mov  rdx, rbx
  syscall
  test eax, eax
  je   2f
  mov  r12d, 1
2:
  add  rbx, 4
  jmp  1b
9:
  mov  edi, r12d
  mov  eax, 60               # exit
  syscall
keys:
