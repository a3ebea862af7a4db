/* rm_mariadb: MariaDB (10.6 or later) as a resource manager. What its files share is in rm_mariadb_impl.h. */
#ifndef ASSENT_RM_MARIADB_H
#define ASSENT_RM_MARIADB_H

#include "participant/rm.h"

extern const struct rm_ops rm_mariadb_ops;

#endif
