# SPDX-License-Identifier: Apache-2.0
class AgentCoreConnectionError(ConnectionError):
    pass
class AgentCoreHTTPError(RuntimeError):
    pass
