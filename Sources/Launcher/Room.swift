enum LauncherRoom {}
