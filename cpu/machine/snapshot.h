/* Memory that was written, and memory that is still to come. */
#ifndef HARTWELL_SNAPSHOT_H
#define HARTWELL_SNAPSHOT_H

#include "hart/hart.h"

/* Waits until the storage worker has brought a page that a lazy wake left
 * out; any thread, `h` its hart or NULL.  Also comes back when the machine stops. */
void page_await(struct Hart *h, uint32_t page);

/* All of RAM counts as written (a reset: the loader writes around the TLB). */
void ram_all_dirty(void);

#endif
