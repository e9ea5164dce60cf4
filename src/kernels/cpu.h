/*
 * cpu.h
 *		CPU features, as far as the operating system saves their registers.
 *
 * On x86-64 each test has three steps: the CPUID bit that makes the other
 * leaves valid, the feature bits, and XCR0 for the registers they need. A
 * hypervisor may hide any of these. On arm64 the operating system reports the
 * features.
 */
#ifndef EMB_KERNELS_CPU_H
#define EMB_KERNELS_CPU_H

#include <stdbool.h>
#include <stddef.h>

extern bool emb_cpu_has_avx2(void);			/* and FMA, which level avx2 requires */
extern bool emb_cpu_has_avxvnni(void);		/* avx2 and the VEX-encoded vpdpbusd */
extern bool emb_cpu_has_avx512vnni(void);	/* F, BW, DQ, VL, VNNI, and avx2 */
extern bool emb_cpu_has_amx(void);			/* avx512vnni, and 8 tiles of 16 rows of 64 bytes, for int8 */

/*
 * Requests AMX tiles from the operating system for this process, its threads
 * and its children, once and for ever. A signal frame of a thread with tiles
 * in use grows by 8 KB, so an alternate signal stack must have the room. False
 * if the system refuses: it is too old, the alternate stack is too small, or a
 * filter of system calls denies it. Only if emb_cpu_has_amx().
 */
extern bool emb_cpu_permit_amx(void);

extern bool emb_cpu_has_neon(void);			/* with the dot product extension, which level neon requires */
extern bool emb_cpu_has_neoni8mm(void);		/* and with the int8 matrix multiply extension */

/*
 * Bytes of a core's second-level cache as the CPU reports them, but 512 kB to
 * 2 MB: a hypervisor may report the cache of several cores, or another CPU's.
 * 1 MB if nothing is reported; arm64 tells programs nothing. Asked once per
 * process.
 */
extern size_t emb_cpu_l2_bytes(void);

/* Bytes of a core's first-level cache of data as the CPU reports them, 32 kB if it does not. */
extern size_t emb_cpu_l1_bytes(void);

/* For tests: another size, whatever it is; 0: the CPU's again. */
extern void emb_cpu_pretend_l1_bytes(size_t n);
extern void emb_cpu_pretend_l2_bytes(size_t n);

#endif
