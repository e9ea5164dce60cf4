/*
 * cpu.h
 *		What this CPU has and its operating system saves.
 *
 * On x86-64 each question goes in steps: the CPUID bit that says the others may be
 * asked, the instruction bits, and XCR0 for the registers they need. A
 * hypervisor may hide any of them. On arm64 the operating system answers.
 */
#ifndef EMB_KERNELS_CPU_H
#define EMB_KERNELS_CPU_H

#include <stdbool.h>

extern bool emb_cpu_has_avx2(void);			/* and FMA, which level avx2 requires */
extern bool emb_cpu_has_avxvnni(void);		/* avx2 and the VEX-encoded vpdpbusd */
extern bool emb_cpu_has_avx512vnni(void);	/* F, BW, DQ, VL, VNNI, and avx2 */
extern bool emb_cpu_has_amx(void);			/* avx512vnni, and 8 tiles of 16 rows of 64 bytes for int8 */

/*
 * Asks the operating system to let this process (its threads, and what it
 * forks) use the tiles, once and for ever: signal frames of a thread whose tiles
 * are in use grow by 8 KB, and an alternate signal stack must have the room.
 * False if it refuses: too old, a smaller alternate stack is installed, a filter
 * of system calls. Only where emb_cpu_has_amx().
 */
extern bool emb_cpu_permit_amx(void);

extern bool emb_cpu_has_neon(void);			/* with the dot product extension, which level neon requires */
extern bool emb_cpu_has_neoni8mm(void);		/* and with the int8 matrix multiply extension */

#endif
