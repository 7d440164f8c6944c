# The boot sector of a boot.img: proof that a firmware attached the whole disk and not just its beginning.
#
# It reads PIECES sectors that lie STRIDE apart, the last of them being the last of the disk, and prints the text that each
# holds on the second serial port (the first is the firmware's). Its line is whole only if every read brought the right sector.
#
#   as --32 --defsym STRIDE=... --defsym PIECES=...; ld -m elf_i386 -Ttext 0x7c00 --oformat binary

        .code16
        .globl  _start
        .set    SECTOR, 0x8000          # where a sector is read to
        .set    COM2, 0x2f8

_start: ljmp    $0, $here
here:   xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp
        sti
        cld

        movb    %dl, drive              # as the firmware left it
        movw    $COM2 + 3, %dx          # 115200 baud, 8N1, no interrupts
        movb    $0x80, %al
        outb    %al, %dx
        movw    $COM2, %dx
        movb    $1, %al
        outb    %al, %dx
        incw    %dx
        xorb    %al, %al
        outb    %al, %dx
        movw    $COM2 + 3, %dx
        movb    $3, %al
        outb    %al, %dx

        movw    $begun, %si
        call    print
        movw    $PIECES, %cx
piece:  movw    $packet, %si
        movb    drive, %dl
        movb    $0x42, %ah
        pushw   %cx
        int     $0x13
        popw    %cx
        jc      failed
        movw    $SECTOR, %si
        call    print
        addl    $STRIDE, lba
        loop    piece
        movw    $ended, %si
        jmp     finish
failed: movw    $broken, %si
finish: call    print
stop:   hlt
        jmp     stop

print:  lodsb                           # the text at %si, which ends with a zero
        testb   %al, %al
        jz      2f
        movb    %al, %bl
        movw    $COM2 + 5, %dx
1:      inb     %dx, %al                # until the port takes another character
        testb   $0x20, %al
        jz      1b
        movw    $COM2, %dx
        movb    %bl, %al
        outb    %al, %dx
        jmp     print
2:      ret

drive:  .byte   0
begun:  .asciz  "disk says:"
ended:  .asciz  " (end)\r\n"
broken: .asciz  " (read error)\r\n"

        .balign 4
packet: .byte   16, 0                   # of int 13h, function 42h: one sector to 0:SECTOR
        .word   1
        .word   SECTOR, 0
lba:    .long   STRIDE - 1, 0

        .org    510
        .word   0xaa55
