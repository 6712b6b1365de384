// memcpy by pairs of general registers: the kernel has no vector registers, and the compiler's own goes word by word and by single bytes
// at the ends. Here the ends overlap instead. Memory is Normal wherever this is used, so nothing needs to be aligned.

.pushsection .text.mem, "ax", %progbits
.global memcpy
.type memcpy, %function
memcpy:
    add     x4, x1, x2              // the ends
    add     x5, x0, x2
    cmp     x2, #16
    b.lo    2f
    cmp     x2, #64
    b.hi    4f
    ldp     x6, x7, [x1]            // 16 to 64: the first 16 and the last 16, and what is between
    ldp     x12, x13, [x4, #-16]
    cmp     x2, #32
    b.ls    1f
    ldp     x8, x9, [x1, #16]
    ldp     x10, x11, [x4, #-32]
    stp     x8, x9, [x0, #16]
    stp     x10, x11, [x5, #-32]
1:  stp     x6, x7, [x0]
    stp     x12, x13, [x5, #-16]
    ret
2:  tbz     x2, #3, 3f
    ldr     x6, [x1]
    ldr     x7, [x4, #-8]
    str     x6, [x0]
    str     x7, [x5, #-8]
    ret
3:  tbz     x2, #2, 5f
    ldr     w6, [x1]
    ldr     w7, [x4, #-4]
    str     w6, [x0]
    str     w7, [x5, #-4]
    ret
5:  cbz     x2, 6f
    lsr     x8, x2, #1
    ldrb    w6, [x1]
    ldrb    w7, [x1, x8]
    ldrb    w9, [x4, #-1]
    strb    w6, [x0]
    strb    w7, [x0, x8]
    strb    w9, [x5, #-1]
6:  ret
4:  mov     x3, x0                  // more: 64 at a time while more than 64 are left, then the last 64, which may overlap
    sub     x15, x4, #64
7:  ldp     x6, x7, [x1]
    ldp     x8, x9, [x1, #16]
    ldp     x10, x11, [x1, #32]
    ldp     x12, x13, [x1, #48]
    add     x1, x1, #64
    stp     x6, x7, [x3]
    stp     x8, x9, [x3, #16]
    stp     x10, x11, [x3, #32]
    stp     x12, x13, [x3, #48]
    add     x3, x3, #64
    cmp     x1, x15
    b.lo    7b
    ldp     x6, x7, [x4, #-64]
    ldp     x8, x9, [x4, #-48]
    ldp     x10, x11, [x4, #-32]
    ldp     x12, x13, [x4, #-16]
    stp     x6, x7, [x5, #-64]
    stp     x8, x9, [x5, #-48]
    stp     x10, x11, [x5, #-32]
    stp     x12, x13, [x5, #-16]
    ret
.size memcpy, . - memcpy
.popsection
