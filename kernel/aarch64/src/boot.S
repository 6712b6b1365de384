// From the loader to Rust: the Image header, the primary entry and that of secondary CPUs.
//
// Nothing is stored and no atomic is used while the MMU is off, so that no line has to be cleaned or invalidated on hosts whose
// guests see stale memory then. Until Rust runs everything is PC-relative: the image may lie at any multiple of 2 MiB.
//
// 1. boot_identity is a table made by the linker: 512 blocks of 1 GiB, physical = virtual. It needs T0SZ = 25, where a table of
//    level 1 is the root, so it holds no physical address that depends on where the image lies.
// 2. With that as TTBR0 the MMU and the caches go on. Then .bss is cleared and the tables of the image in the high half are made.
// 3. A jump to the high half. Rust makes the linear map, drops the identity map and sets T0SZ = 17 (mmu.rs).

.macro mov_imm reg, value
    movz \reg, #((\value) & 0xFFFF)
    movk \reg, #(((\value) >> 16) & 0xFFFF), lsl #16
    movk \reg, #(((\value) >> 32) & 0xFFFF), lsl #32
    movk \reg, #(((\value) >> 48) & 0xFFFF), lsl #48
.endm

.macro adr_far reg, symbol
    adrp \reg, \symbol
    add \reg, \reg, :lo12:\symbol
.endm

// The attributes of a level-3 descriptor: page, AttrIndx 0, inner shareable, accessed, contiguous, never for EL0.
.equ PAGE_TEXT,   0x3 | (0 << 2) | (2 << 6) | (3 << 8) | (1 << 10) | (1 << 52) | (1 << 54)
.equ PAGE_RODATA, PAGE_TEXT | (1 << 53)
.equ PAGE_DATA,   0x3 | (0 << 2) | (0 << 6) | (3 << 8) | (1 << 10) | (1 << 52) | (1 << 53) | (1 << 54)
.equ BLOCK_IDENTITY, 0x1 | (0 << 2) | (3 << 8) | (1 << 10) | (1 << 54)
.equ TABLE, 3

.equ MAIR, 0x000004FF             // Normal write-back, Device-nGnRE, Device-nGnRnE: `mmu::Memory`, `pmap::MAIR`
// T0SZ 25, T1SZ 17, walks cacheable and inner shareable, 4 KiB granules, ASID from TTBR0.
.equ TCR, 25 | (1 << 8) | (1 << 10) | (3 << 12) | (17 << 16) | (1 << 24) | (1 << 26) | (3 << 28) | (2 << 30)
.equ TCR_EPD1, (1 << 23)
// For EL0: SA0 ITD SED DZE UCT nTWI nTWE UCI. Ones: EOS TSCXT EIS nTLSMD LSMAOE. And M C SA I; all else 0.
.equ SCTLR_EL0, (1 << 4) | (1 << 7) | (1 << 8) | (1 << 14) | (1 << 15) | (1 << 16) | (1 << 18) | (1 << 26)
.equ SCTLR_ONES, (1 << 11) | (1 << 20) | (1 << 22) | (1 << 28) | (1 << 29)
.equ SCTLR, (1 << 0) | (1 << 2) | (1 << 3) | (1 << 12) | SCTLR_EL0 | SCTLR_ONES
.equ SCTLR_SPAN, (1 << 23)
// The same without M, C and I, for EL2 to leave behind.
.equ SCTLR_OFF, (SCTLR & ~((1 << 0) | (1 << 2) | (1 << 12))) | SCTLR_SPAN

.section .text.head, "ax"
.global _start
_start:
    b primary_entry
    .word 0
    .quad 0                     // text_offset
    .quad __image_size
    .quad 0xA                   // little endian, 4 KiB pages, anywhere in memory
    .quad 0, 0, 0
    .ascii "ARM\x64"
    .word 0

.section .text.boot, "ax"

// x0: the device tree.
primary_entry:
    mov x20, x0
    bl to_el1
    mov_imm x0, TCR_EPD1
    bl mmu_on
    bl clear_bss
    bl map_image
    mrs x1, tcr_el1
    bic x1, x1, #TCR_EPD1
    msr tcr_el1, x1
    isb
    tlbi vmalle1
    dsb nsh
    isb
    mov x0, x20
    adr x1, _start
    ldr x2, =boot_stack_top
    ldr x3, =primary_high
    br x3

primary_high:
    mov sp, x2
    mov x29, xzr
    mov x30, xzr
    b boot_primary

// x0: the CPU's number.
.global secondary_entry
secondary_entry:
    mov x20, x0
    bl to_el1
    mov x0, xzr
    bl mmu_on
    ldr x3, =secondary_high
    br x3

secondary_high:
    ldr x1, =SECONDARY_STACK_TOPS
    ldr x1, [x1, x20, lsl #3]
    mov sp, x1
    mov x29, xzr
    mov x30, xzr
    mov x0, x20
    b boot_secondary

// Masks everything, leaves EL2, uses SP_EL1. Clobbers x0, x1.
to_el1:
    msr daifset, #15
    mrs x0, CurrentEL
    cmp x0, #(2 << 2)
    b.eq 1f
    cmp x0, #(1 << 2)
    b.ne park
    msr spsel, #1
    ret
1:  mov_imm x0, SCTLR_OFF
    msr sctlr_el1, x0
    mov x0, #(1 << 31)          // EL1 is AArch64, nothing traps
    msr hcr_el2, x0
    isb
    mrs x0, cnthctl_el2
    orr x0, x0, #3
    msr cnthctl_el2, x0
    msr cntvoff_el2, xzr
    mov x0, #0x33FF             // FP doesn't trap
    msr cptr_el2, x0
    msr hstr_el2, xzr
    mrs x0, mdcr_el2
    and x0, x0, #0x1F           // leaves HPMN
    msr mdcr_el2, x0
    mrs x0, midr_el1
    msr vpidr_el2, x0
    mrs x0, mpidr_el1
    msr vmpidr_el2, x0
    mrs x0, id_aa64pfr0_el1
    ubfx x0, x0, #24, #4
    cbz x0, 2f
    mrs x0, s3_4_c12_c9_5       // ICC_SRE_EL2
    orr x0, x0, #1              // SRE
    orr x0, x0, #8              // Enable
    msr s3_4_c12_c9_5, x0
    isb
    msr s3_4_c12_c11_0, xzr     // ICH_HCR_EL2
2:  mov x0, #0x3C5              // EL1h, DAIF
    msr spsr_el2, x0
    msr elr_el2, x30
    eret

// Turns the MMU and the caches on. x0: extra bits of TCR. Clobbers x1-x3.
mmu_on:
    mov_imm x1, MAIR
    msr mair_el1, x1
    mov_imm x1, TCR
    orr x1, x1, x0
    mrs x2, id_aa64mmfr0_el1
    and x3, x2, #15             // PARange
    cmp x3, #5                  // 48 bits at most
    mov x0, #5
    csel x3, x3, x0, ls
    bfi x1, x3, #32, #3
    ubfx x3, x2, #4, #4         // ASIDBits
    cmp x3, #2
    b.ne 1f
    orr x1, x1, #(1 << 36)      // AS
1:  mrs x2, id_aa64mmfr1_el1
    tst x2, #15                 // HAFDBS
    b.eq 2f
    orr x1, x1, #(1 << 39)      // HA
2:  mrs x3, s3_0_c0_c7_2        // ID_AA64MMFR2_EL1
    ubfx x3, x3, #60, #4        // E0PD
    cbz x3, 3f
    orr x1, x1, #(1 << 56)      // E0PD1
3:  msr tcr_el1, x1
    adr_far x1, boot_identity
    msr ttbr0_el1, x1
    adr_far x1, kernel_root
    msr ttbr1_el1, x1
    mov_imm x1, SCTLR
    ubfx x3, x2, #20, #4        // PAN: if there is none then SPAN is RES1
    cbnz x3, 4f
    orr x1, x1, #SCTLR_SPAN
4:  isb
    tlbi vmalle1
    ic iallu
    dsb nsh
    isb
    msr sctlr_el1, x1
    isb
    ret

// Clobbers x0, x1.
clear_bss:
    adr_far x0, __bss_start
    adr_far x1, __bss_end
1:  stp xzr, xzr, [x0], #16
    cmp x0, x1
    b.lo 1b
    ret

// Makes the tables of the image: one path of levels 0 to 2, four tables of level 3. Clobbers x0-x9.
map_image:
    mov x9, x30
    adr_far x0, kernel_root
    adr_far x1, image_level1
    orr x2, x1, #TABLE
    str x2, [x0, #(255 * 8)]    // bits 46-39 of IMAGE_BASE
    adr_far x0, image_level2
    orr x2, x0, #TABLE
    str x2, [x1, #(510 * 8)]    // bits 38-30
    adr_far x1, image_level3
    orr x2, x1, #TABLE
    mov x3, #4
1:  str x2, [x0], #8            // bits 29-21 are 0
    add x2, x2, #4096
    subs x3, x3, #1
    b.ne 1b

    adr x0, _start
    adr_far x2, __text_end
    mov_imm x3, PAGE_TEXT
    bl map_pages
    adr_far x2, __rodata_end
    mov_imm x3, PAGE_RODATA
    bl map_pages
    adr_far x2, __bss_end
    mov_imm x3, PAGE_DATA
    bl map_pages
    dsb ishst
    isb
    ret x9

// x0: physical address, x1: the descriptor's address, x2: end, x3: attributes. Leaves x0 and x1 behind the last.
map_pages:
    orr x4, x0, x3
    str x4, [x1], #8
    add x0, x0, #4096
    cmp x0, x2
    b.lo map_pages
    ret

park:
    wfe
    b park

.ltorg
.global boot_code_end
boot_code_end:

.section .rodata.boot_identity, "a"
.balign 4096
boot_identity:
.set i, 0
.rept 512
    .quad (i << 30) | BLOCK_IDENTITY
.set i, i + 1
.endr

.section .bss.boot_tables, "aw", %nobits
.balign 4096
.global kernel_root
kernel_root:
    .space 4096
image_level1:
    .space 4096
image_level2:
    .space 4096
image_level3:
    .space 4 * 4096
.global empty_root
empty_root:
    .space 4096
.balign 65536
    .space 32768

    .space 32768
.global boot_stack_top
boot_stack_top:
