/*
 * cpu.h
 *		What this CPU has and its operating system saves.
 *
 * Each question goes in steps: the CPUID bit that says the others may be
 * asked, the instruction bits, and XCR0 for the registers they need. A
 * hypervisor may hide any of them.
 */
#ifndef EMB_KERNELS_CPU_H
#define EMB_KERNELS_CPU_H

#include <stdbool.h>

extern bool emb_cpu_has_avx2(void);			/* and FMA, which level avx2 requires */
extern bool emb_cpu_has_avxvnni(void);		/* avx2 and the VEX-encoded vpdpbusd */
extern bool emb_cpu_has_avx512vnni(void);	/* F, BW, DQ, VL, VNNI, and avx2 */

#endif
