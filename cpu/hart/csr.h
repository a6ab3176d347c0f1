/* Control and status registers, Privileged spec chapter 2. */
#ifndef HARTWELL_CSR_H
#define HARTWELL_CSR_H

#include "hart/hart.h"

enum { CSR_RW = 1, CSR_RS = 2, CSR_RC = 3 };

/* One CSR instruction: `kind` is CSR_*, `write` false for the forms that only
 * read (rs1 = x0).  h->pc and h->instret must be in memory.  false: trap
 * pending (the caller supplies tval = instruction bits by h->trap_tval). */
bool csr_op(struct Hart *h, uint32_t number, uint32_t kind, uint64_t operand, bool write, uint64_t *old);

bool csr_get(struct Hart *h, uint32_t number, uint64_t *value);
bool csr_set(struct Hart *h, uint32_t number, uint64_t value);
void csr_reset(struct Hart *h);

#define ENVCFG_STCE (1ull << 63)
#define ENVCFG_ADUE (1ull << 61)
#define ENVCFG_CBZE (1ull << 7)
#define ENVCFG_CBCFE (1ull << 6)
#define ENVCFG_CBIE (3ull << 4)

#endif
