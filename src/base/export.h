/* SPDX-License-Identifier: Apache-2.0 */
/* Marks the functions of agentcore.h: everything else stays hidden in the shared library. */
#ifndef AC_BASE_EXPORT_H
#define AC_BASE_EXPORT_H

#define EXPORT __attribute__((visibility("default")))

#endif
