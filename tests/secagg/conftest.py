from hypothesis import settings

settings.register_profile("secagg", deadline=None)  # a busy machine is no failure
settings.load_profile("secagg")
