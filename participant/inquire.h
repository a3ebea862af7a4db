/* inquire: the operator's questions (WORK_INQUIRE), passed on to the resource; the answer is a report.
 *   {"inspect": "<transaction>", "branch": n, "resource": "…"}   {"diagnose": "<resource>"}
 * What cannot be answered is answered with {"error": "…"}.
 */
#ifndef ASSENT_INQUIRE_H
#define ASSENT_INQUIRE_H

#include "libtx/shared/wire.h"

struct agent;

void inquire(struct agent *a, const struct wire_work_item *item);

#endif
