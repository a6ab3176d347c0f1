/* Translations made ahead for an image: one module, which the embedder compiles
 * before the harts run, and a table that says which guest code each function was
 * made of (struct JitAheadHead).  docs/decisions/0042-translations-ahead.md.
 *
 * A function is taken when a place gets warm whose code is, byte for byte by its
 * hash, what the function was made of, wherever it lies.  From then on it is a
 * region like any other.
 */
#ifndef HARTWELL_JIT_AHEAD_H
#define HARTWELL_JIT_AHEAD_H

#include "jit/jit.h"

/* What a place's visits come to when it is looked for, in units of JIT_VISIT. */
#define AHEAD_HEAT (100u * JIT_VISIT)

/* The first slot of theirs. */
#define AHEAD_SLOT (JIT_FIRST_SLOT + JIT_SLOTS)

/* JitHart.ahead. */
enum { AHEAD_UNASKED, AHEAD_THERE, AHEAD_REFUSED };

/* Looks at a table that the owner has put there (Jit.ahead_bytes); one that is
 * damaged, or for another machine, is counted and not used. */
void ahead_begin(void);

/* Is there one for pc, in RAM page `page`?  Then it is registered.  Under Jit.lock. */
bool ahead_register(struct Hart *h, uint32_t page, uint64_t pc);

/* Makes the module part of this instance; false: the engine has none. */
bool ahead_install(struct Hart *h);

#endif
