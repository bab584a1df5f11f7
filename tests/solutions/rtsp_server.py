"""An RTSP server for the tests, run by the system's Python, which has GStreamer's bindings.

    /usr/bin/python3 rtsp_server.py PORT [USER PASSWORD]

Serves a moving ball at rtsp://127.0.0.1:PORT/ball and prints "ready".
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PIPELINE = (
    "( videotestsrc is-live=true pattern=ball background-color=0xff202020 "
    "! video/x-raw,width=160,height=96,framerate=25/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 "
    "! rtph264pay name=pay0 pt=96 config-interval=1 )"
)


def require_login(server: object, factory: object, user: str, password: str) -> None:
    login = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    login.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(login)
    roles = GstRtspServer.RTSPPermissions()
    roles.add_permission_for_role("viewer", "media.factory.access", True)
    roles.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(roles)


def main(port: str, *login: str) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE)
    factory.set_shared(True)
    if login:
        require_login(server, factory, *login)
    server.get_mount_points().add_factory("/ball", factory)
    if not server.attach(None):
        sys.exit(f"port {port} is taken")
    print("ready", flush=True)
    GLib.MainLoop().run()


main(*sys.argv[1:])
