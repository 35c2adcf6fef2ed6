/* SPDX-License-Identifier: Apache-2.0 */
/* The OpenAPI 3.1 document, made from route_table and its schemas. */
#ifndef AC_NET_OPENAPI_H
#define AC_NET_OPENAPI_H

#include "net/route.h"

/* Appends the document. Returns 0 or -ENOMEM. */
int openapi_write(struct buf *out);

#endif
