"""The process that serves the OpenFX plugin of one host: models, pictures, trainings. Started by the plugin itself."""
